"""edgeimg devices, flash: from a finished image to the disks of gateways."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from edgeimg.cli import flash_options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.streams import say
from edgeimg.cli.table import new_table
from edgeimg.errors import FlashError, HostError
from edgeimg.flash import devices, job, safety, stream
from edgeimg.flash.devices import Device
from edgeimg.flash.job import Outcome
from edgeimg.flash.safety import Chosen
from edgeimg.flash.write import Written
from edgeimg.fleet import entries, facts
from edgeimg.fleet.ledger import Entry, Ledger
from edgeimg.image import blockmap
from edgeimg.image.blockmap import BlockMap

_STDOUT = Path("-")


@click.command("devices", epilog="Example: edgeimg devices --json")
@with_app
def list_devices(app: App) -> None:
    """List the disks of this machine, and why one may be flashed."""
    found = devices.tangible(devices.disks(safety.lsblk()))
    data = {"devices": [device.to_json() for device in found]}
    app.result(data, lambda console: console.print(_devices(found)))


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
    """Write IMAGE to disks, and read all of it back.

    The block map beside the image (.bmap) says what has to be written; the rest of a disk is
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
    if len({one.real for one in chosen}) < len(chosen):
        raise HostError("one disk is named twice")
    if logs:
        logs.mkdir(parents=True, exist_ok=True)  # refused now, or never
    if not yes and any(one.exists for one in chosen):
        with app.ui.aside():
            agreed = _ask(image, blocks, chosen)
        if not agreed:
            raise FlashError("nothing was written: the answer was no")
    book = Ledger(ledger) if ledger else None
    begun = _begin(book, image, chosen) if book else []
    outcomes = job.flash(image, blocks, chosen, logs=logs, progress=app.ui)
    if book:
        for entry, outcome in zip(begun, outcomes, strict=True):
            book.add(entries.ended(entry, outcome))
    data = {"image": str(image), "devices": [outcome.to_json() for outcome in outcomes]}
    app.result(data, lambda console: console.print(_outcomes(outcomes)))
    if any(outcome.interrupted for outcome in outcomes):
        raise KeyboardInterrupt
    if failed := [outcome for outcome in outcomes if not outcome.ok]:
        lines = [f"{one.device}: {one.error}" for one in failed]
        raise FlashError("\n  ".join([f"{len(failed)} of {len(outcomes)} failed", *lines]),
                         hint=failed[0].hint or None)  # fmt: skip


def _may_stream(app: App, targets: tuple[Path, ...]) -> None:
    """Raises UsageError or HostError where standard output cannot carry the image."""
    if len(targets) > 1 or app.as_json:
        other = "--json" if app.as_json else "other targets"
        raise click.UsageError(f"standard output carries the image: not {other} as well")
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
    """Have the ledger say that these disks are being written."""
    known = facts.read(image)
    begun = [entries.begun(known, one) for one in chosen]
    for entry in begun:
        book.add(entry)
    return begun


def _ask(image: Path, blocks: BlockMap, chosen: list[Chosen]) -> bool:
    """Show what will be lost; the answer. Raises HostError where nobody can give one."""
    if not sys.stdin.isatty():
        raise HostError("there is no terminal to ask on", hint="add --yes to confirm")
    lines = [f"{image.name} ({safety.human(blocks.image_size)}) will replace everything on:"]
    for one in filter(lambda one: one.exists, chosen):
        held = one.device.holds if one.device else ()
        lines.append(f"  {one.title}")
        lines.append(f"    now: {', '.join(held) or 'nothing that is known'}")
    say("\n".join(lines))
    return click.confirm("Write?", err=True, prompt_suffix=" ")


def _devices(found: tuple[Device, ...]) -> Table:
    table = new_table("Disk", "What it is", "Size", "On it", "Flash?")
    for device in found:
        kind = " ".join(filter(None, (device.bus, "removable" if device.removable else "")))
        what = ", ".join(filter(None, (device.name, device.serial, kind)))
        verdict = Text("yes", style="green")
        if not safety.may_write(Path(device.path)):
            verdict = Text("yes, with sudo", style="green")
        if device.dangers:
            verdict = Text("no: " + "\n".join(device.dangers), style="red", overflow="fold")
        elif not device.removable:
            verdict = Text("with --fixed", style="yellow")
        table.add_row(
            Text(device.path, no_wrap=True), what, safety.human(device.size),
            ", ".join(device.holds), verdict,
        )  # fmt: skip
    return table


def _outcomes(outcomes: list[Outcome]) -> Table:
    table = new_table("Disk", "Serial", "Result", "Discarded", "Time", "Rate")
    for one in outcomes:
        why = "; ".join(filter(None, (one.error, one.hint)))
        result, numbers = Text(why, style="red"), ("", "", "")
        if one.done is not None:
            result = Text(_done(one.done), style="green")
            rate = f"{safety.human(one.rate)}/s"
            numbers = (safety.human(one.done.discarded), f"{one.seconds:.1f} s", rate)
        table.add_row(Text(one.device, overflow="fold"), one.serial, result, *numbers)
    return table


def _done(done: Written) -> str:
    there = f", {safety.human(done.kept)} were there" if done.kept else ""
    read = safety.human(done.read_back)
    return f"{safety.human(done.written)} written{there}, {read} read back"


COMMANDS: tuple[click.Command, ...] = (list_devices, flash)
