"""edgeimg devices, flash: from a finished image to the disks of gateways."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from edgeimg.build import pipeline
from edgeimg.cli import flash_options, options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.streams import say
from edgeimg.cli.table import new_table
from edgeimg.errors import FlashError, HostError
from edgeimg.flash import devices, job, safety, sectors, stream
from edgeimg.flash.devices import Device
from edgeimg.flash.job import Outcome
from edgeimg.flash.safety import Chosen
from edgeimg.flash.sectors import SectorImage
from edgeimg.flash.write import ByteCounts
from edgeimg.fleet import entries, facts
from edgeimg.fleet.ledger import Entry, Ledger
from edgeimg.image import blockmap
from edgeimg.image.blockmap import BlockMap
from edgeimg.image.partitions import LARGE_SECTOR, SECTOR

_STDOUT = Path("-")


@click.command("devices", epilog="Example: edgeimg devices --json")
@with_app
def list_devices(app: App) -> None:
    """List the disks of this machine, and why one may be flashed."""
    disks = devices.tangible(devices.disks(safety.lsblk()))
    data = {"devices": [device.to_json() for device in disks]}
    app.result(data, lambda console: console.print(_devices(disks)))


@click.command(
    epilog="Examples: edgeimg flash gateway_1.2.0_arm64.raw.zst /dev/sdb    "
    "edgeimg flash --yes IMAGE /dev/sdb /dev/sdc /dev/sdd"
)
@flash_options.image
@click.argument("targets", metavar="DEVICE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, readable=False))  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask. Dangerous targets are still refused.")
@flash_options.fixed
@flash_options.key
@flash_options.logs
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Record the flash in this file, as `edgeimg fleet` does.",
)
@with_app
def flash(
    app: App,
    *,
    image: Path,
    targets: tuple[Path, ...],
    yes: bool,
    fixed: bool,
    key: Path | None,
    logs: Path | None,
    ledger: Path | None,
) -> None:
    """Write IMAGE to disks and read all of it back.

    The block map beside the image (.bmap) lists the blocks with data; the rest of a disk is
    discarded. DEVICE is a whole disk, or a file, or - for the raw image on standard output. Disks
    that are in use, mounted, or part of anything larger are refused whatever you answer.
    """
    streams = _STDOUT in targets
    if streams:
        _may_stream(app, targets)
    flash_options.verify_image(app, image, key)
    blocks = blockmap.read(blockmap.beside(image))
    if streams:
        _stream(app, image, blocks)
        return
    chosen = [safety.choose(path, blocks.image_size, fixed=fixed) for path in targets]
    if len({target.real for target in chosen}) < len(chosen):
        raise HostError("one disk is named twice")
    if logs:
        logs.mkdir(parents=True, exist_ok=True)  # refused now, or never
    with laid_out(app, image, blocks, chosen) as large:
        _flash(app, image, blocks, chosen, large, yes=yes, logs=logs, ledger=ledger)


def _flash(
    app: App,
    image: Path,
    blocks: BlockMap,
    chosen: list[Chosen],
    large: SectorImage | None,
    *,
    yes: bool,
    logs: Path | None,
    ledger: Path | None,
) -> None:
    """Ask, write, and print how it went. Raises FlashError when a disk failed."""
    if not yes and any(target.exists for target in chosen):
        with app.ui.aside():
            agreed = _ask(image, blocks, chosen)
        if not agreed:
            raise FlashError("nothing was written: the answer was no")
    book = Ledger(ledger) if ledger else None
    outcomes = write(app, image, blocks, chosen, large, logs=logs, book=book)
    data = {"image": str(image), "devices": [outcome.to_json() for outcome in outcomes]}
    app.result(data, lambda console: console.print(_outcomes(outcomes)))
    if any(outcome.interrupted for outcome in outcomes):
        raise KeyboardInterrupt
    if failed := [outcome for outcome in outcomes if not outcome.ok]:
        lines = [f"{target.device}: {target.error}" for target in failed]
        raise FlashError("\n  ".join([f"{len(failed)} of {len(outcomes)} failed", *lines]),
                         hint=failed[0].hint or None)  # fmt: skip


def write(
    app: App,
    image: Path,
    blocks: BlockMap,
    chosen: list[Chosen],
    large: SectorImage | None,
    *,
    logs: Path | None,
    book: Ledger | None,
) -> list[Outcome]:
    """Write the image to the disks, with an entry in the ledger before and after each."""
    open_entries = _begin(book, image, chosen) if book else []
    outcomes = job.flash(image, blocks, chosen, large=large, logs=logs, progress=app.ui)
    if book:
        for entry, outcome in zip(open_entries, outcomes, strict=True):
            book.add(entries.ended(entry, outcome))
    return outcomes


@contextlib.contextmanager
def laid_out(
    app: App, image: Path, blocks: BlockMap, chosen: list[Chosen]
) -> Iterator[SectorImage | None]:
    """The image as disks with sectors of 4096 bytes get it; None when no target has them.

    Raises ImageError for an image that does not start from such a disk.
    """
    if all(target.sector == SECTOR for target in chosen):
        yield None
        return
    toolbox = pipeline.pack_tools(options.load_recipe(None), store=app.store, ui=app.ui)
    app.store.sweep()  # a killed run may have left an image
    with app.store.work("flash") as directory:
        with app.ui.step(f"lay {image.name} out for sectors of {LARGE_SECTOR} bytes"):
            large = sectors.lay_out(image, blocks, directory, sector=LARGE_SECTOR, toolbox=toolbox)
        yield large


def _may_stream(app: App, targets: tuple[Path, ...]) -> None:
    """Raises UsageError or HostError where standard output cannot carry the image."""
    if len(targets) > 1 or app.as_json:
        conflict = "--json" if app.as_json else "other targets"
        raise click.UsageError(f"standard output carries the image: not {conflict} as well")
    if sys.stdout.isatty():
        raise HostError(
            "standard output is a terminal: the image is not written to it",
            hint="give it to a program or a file: edgeimg flash IMAGE - | ssh HOST …",
        )


def _stream(app: App, image: Path, blocks: BlockMap) -> None:
    with app.ui.task("standard output", blocks.image_size) as advance:
        stream.stream(image, blocks, sys.stdout.fileno(), advance=advance)
    app.ui.note(f"{blocks.image_size} bytes went out; the {blocks.mapped} that matter are verified")


def _begin(book: Ledger, image: Path, chosen: list[Chosen]) -> list[Entry]:
    """Add an entry to the ledger for each disk that is being written."""
    image_facts = facts.read(image)
    new_entries = [entries.begun(image_facts, target) for target in chosen]
    for entry in new_entries:
        book.add(entry)
    return new_entries


def _ask(image: Path, blocks: BlockMap, chosen: list[Chosen]) -> bool:
    """Show what will be lost and ask. Raises HostError without a terminal."""
    if not sys.stdin.isatty():
        raise HostError("there is no terminal to ask on", hint="add --yes to confirm")
    lines = [f"{image.name} ({safety.human(blocks.image_size)}) will replace everything on:"]
    for target in filter(lambda target: target.exists, chosen):
        contents = target.device.holds if target.device else ()
        lines.append(f"  {target.title}")
        lines.append(f"    now: {', '.join(contents) or 'no known content'}")
    say("\n".join(lines))
    return click.confirm("Write?", err=True, prompt_suffix=" ")


def _devices(disks: tuple[Device, ...]) -> Table:
    table = new_table("Disk", "Device", "Size", "Content", "Flash?")
    for device in disks:
        kind = " ".join(filter(None, (device.bus, "removable" if device.removable else "")))
        large = f"sectors of {device.sector} bytes" if device.sector != SECTOR else ""
        description = ", ".join(filter(None, (device.name, device.serial, kind, large)))
        verdict = Text("yes", style="green")
        if not safety.may_write(Path(device.path)):
            verdict = Text("yes, with sudo", style="green")
        if device.dangers:
            verdict = Text("no: " + "\n".join(device.dangers), style="red", overflow="fold")
        elif not device.removable:
            verdict = Text("with --fixed", style="yellow")
        table.add_row(
            Text(device.path, no_wrap=True), description, safety.human(device.size),
            ", ".join(device.holds), verdict,
        )  # fmt: skip
    return table


def _outcomes(outcomes: list[Outcome]) -> Table:
    table = new_table("Disk", "Serial", "Result", "Discarded", "Time", "Rate")
    for outcome in outcomes:
        reason = "; ".join(filter(None, (outcome.error, outcome.hint)))
        result, numbers = Text(reason, style="red"), ("", "", "")
        if outcome.counts is not None:
            result = Text(_counts(outcome.counts), style="green")
            rate = f"{safety.human(outcome.rate)}/s"
            numbers = (safety.human(outcome.counts.discarded), f"{outcome.seconds:.1f} s", rate)
        table.add_row(Text(outcome.device, overflow="fold"), outcome.serial, result, *numbers)
    return table


def _counts(counts: ByteCounts) -> str:
    unchanged = f", {safety.human(counts.kept)} unchanged" if counts.kept else ""
    read = safety.human(counts.read_back)
    return f"{safety.human(counts.written)} written{unchanged}, {read} read back"


COMMANDS: tuple[click.Command, ...] = (list_devices, flash)
