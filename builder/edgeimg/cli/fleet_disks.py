"""edgeimg fleet images, flash: from one image to as many gateways as a file has rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from edgeimg.build import pipeline
from edgeimg.cache import partials
from edgeimg.cache.store import disk_errors, write_whole
from edgeimg.cli import flash_options, fleet_bench, fleet_options, options, signing_options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.fleet_bench import TerminalBench
from edgeimg.errors import FlashError, HostError, ImageError, ProvisionError
from edgeimg.fleet import facts, images, labels, match, printing
from edgeimg.fleet.labels import Style
from edgeimg.fleet.ledger import Ledger
from edgeimg.fleet.match import Row
from edgeimg.fleet.reading import Fleet, Gateway
from edgeimg.fleet.station import Station, Wanted
from edgeimg.fleet.writing import Order, Workshop
from edgeimg.image import blockmap
from edgeimg.provision.consents import beside
from edgeimg.provision.signing import Signing, signed
from edgeimg.vm.disk import raw_image


@click.command("images", epilog="Example: edgeimg fleet images IMAGE gateways.csv -o out/site")
@flash_options.image
@with_app
@fleet_options.fleet(secrets=True)
@fleet_options.only
@flash_options.key
@signing_options.signing
@click.option("--compress", is_flag=True, help="Write .raw.zst instead of .raw.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of finished images.",
)
def fleet_images(
    app: App,
    *,
    image: Path,
    fleet: Fleet,
    only: tuple[str, ...],
    key: Path | None,
    signing: Signing | None,
    compress: bool,
    output: Path,
) -> None:
    """Make an image of each gateway: IMAGE with its settings. They hold secrets: keep them safe."""
    signing = _signing(image, signing)
    shop = workshop(app, image, key, Ledger(fleet_options.beside(fleet.path)), None)
    matching = _for_image(app, fleet.named(only), shop)
    image_rows: list[dict[str, object]] = []
    with disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    for gateway in matching.gateways:
        with app.ui.step(f"make the image of {gateway.name}"):
            path = _make(shop, gateway, output, signing, compress=compress)
        image_rows.append({"name": gateway.name, "image": str(path), "settings": gateway.digest()})
    summary = f"{len(image_rows)} images in {output}: they hold secrets, and only you may read them"
    app.result({"images": image_rows}, lambda console: console.print(summary))


@click.command("flash", epilog="Example: sudo edgeimg fleet flash IMAGE gateways.csv --labels out")
@flash_options.image
@with_app
@fleet_options.fleet(secrets=True)
@click.argument("devices", metavar="[DEVICE]...", nargs=-1, type=click.Path(path_type=Path))
@fleet_options.ledger
@fleet_options.only
@fleet_options.style
@flash_options.key
@signing_options.signing
@click.option(
    "--any-disk",
    is_flag=True,
    help="Do not ask: disks whose serial number no row has become the next gateways.",
)
@flash_options.fixed
@click.option(
    "--again",
    multiple=True,
    metavar="NAME",
    help="Flash this gateway again although the ledger has it as done; may be repeated.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Go on until all gateways are done, or end with the disks that are there.",
)
@flash_options.logs
@click.option(
    "--labels",
    "label_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for a label of each finished gateway.",
)
@click.option("--printer", help="Print the labels there, too (CUPS).")
def fleet_flash(
    app: App,
    *,
    image: Path,
    fleet: Fleet,
    devices: tuple[Path, ...],
    book: Ledger,
    only: tuple[str, ...],
    style: Style,
    key: Path | None,
    signing: Signing | None,
    any_disk: bool,
    fixed: bool,
    again: tuple[str, ...],
    wait: bool,
    logs: Path | None,
    label_folder: Path | None,
    printer: str | None,
) -> None:
    """Flash disk after disk, each as one of FILE's gateways.

    Disks are taken as they are put in: a disk whose serial number a row has becomes that gateway
    at once; any other becomes the next one without a serial number, after a question. With DEVICEs
    only disks by these names count. What `edgeimg flash` refuses is refused.
    """
    if printer and not label_folder:
        raise click.UsageError("--printer needs --labels, a directory for what is printed")
    if printer and not shutil.which("lp"):
        raise HostError("there is no lp to print with", hint="apt install cups-client")
    if logs:
        logs.mkdir(parents=True, exist_ok=True)  # refused now, or never
    fleet.named(again)  # names that are unknown
    signing = _signing(image, signing)
    shop = workshop(app, image, key, book, logs)
    matching = _for_image(app, fleet.named(only), shop)
    fleet_options.tell_damage(app, book, book.read())
    app.store.sweep()
    orders = tuple(
        order(one, shop, style, label_folder, printer, signing) for one in matching.gateways
    )
    rows = [order.row for order in orders]
    station = Station(
        shop=shop,
        wanted=Wanted(orders=orders, again=again, devices=devices, fixed=fixed, wait=wait),
        bench=TerminalBench(app=app, rows=rows, any_disk=any_disk),
        progress=app.ui,
        holds=lambda disk: images.holder(disk, toolbox=shop.toolbox),
    )
    done = station.run()
    progress = match.states(rows, book.read(), digest=shop.facts.digest)
    data = {
        "image": str(image),
        "gateways": [{"name": one.gateway, **one.outcome.to_json()} for one in done],
        "left": [name for name, one in progress.items() if one.state != "done"],
    }
    app.result(data, lambda console: console.print(fleet_bench.outcomes(done, progress)))
    last = {one.gateway: one for one in done}
    if failed := [one for one in last.values() if not one.outcome.ok]:
        lines = [f"{one.gateway}: {one.outcome.error}" for one in failed]
        raise FlashError(
            "\n  ".join([f"{len(failed)} gateways failed", *lines]),
            hint=failed[0].outcome.hint or None,
        )
    if not wait:
        _tell_unused(station)


def _tell_unused(station: Station) -> None:
    """Raise the error of `edgeimg flash` if named disks were not used while gateways remain."""
    if errors := station.unused():
        # As in `edgeimg flash`: HostError means that nothing was written.
        all_refused = not station.done and all(isinstance(error, HostError) for error in errors)
        kind = HostError if all_refused else FlashError
        raise kind("\n  ".join(error.message for error in errors), hint=errors[0].hint)


def workshop(app: App, image: Path, key: Path | None, book: Ledger, logs: Path | None) -> Workshop:
    """Everything but the gateways; the image is checked."""
    flash_options.verify_image(app, image, key)
    blocks = blockmap.read(blockmap.beside(image))
    toolbox = pipeline.pack_tools(options.load_recipe(None), store=app.store, ui=app.ui)
    with app.ui.step(f"read {image.name}"):
        image_facts = facts.read(image)
        base = images.base(raw_image(image, app.store), blocks, image)
    return Workshop(
        base=base, facts=image_facts, ledger=book, store=app.store, toolbox=toolbox, logs=logs
    )


def _for_image(app: App, fleet: Fleet, shop: Workshop) -> Fleet:
    """The gateways that are of the image's architecture."""
    arch = shop.facts.arch
    if not arch and any(one.box.arch for one in fleet.gateways):
        raise ImageError(
            f"{fleet.path} has rows with `arch`, and there is no manifest with the architecture of "
            f"{shop.facts.file}",
            hint="keep the image's .manifest.json beside it",
        )
    matching = [one for one in fleet.gateways if not arch or one.box.arch in (None, arch)]
    if not matching:
        raise ProvisionError(f"{fleet.path} has no gateway for an image of {arch}")
    if omitted_count := len(fleet.gateways) - len(matching):
        app.ui.note(f"{omitted_count} gateways are not for {arch} and are skipped")
    return Fleet(path=fleet.path, gateways=tuple(matching))


def _signing(image: Path, signing: Signing | None) -> Signing | None:
    """The signing key, if the image requires one. Raises ProvisionError when it is missing."""
    source = options.load_recipe(None)
    public = signing_options.public_key(source)
    consents = beside(image)
    signing_options.require(
        signing, signed=consents.signed if consents else public is not None, title=image.name
    )
    return signing and replace(signing, expected=public)


def _files(gateway: Gateway, signing: Signing | None) -> dict[str, bytes]:
    files = gateway.files()
    return signed(files, signing) if signing else files


def _make(
    shop: Workshop, gateway: Gateway, output: Path, signing: Signing | None, *, compress: bool
) -> Path:
    """A gateway's image and block map, which get their names when they are finished."""
    with (
        disk_errors(output),
        partials.directory(".partial-", output) as scratch,
    ):
        image_file = images.make(
            shop.base, _files(gateway, signing), scratch, gateway.name, toolbox=shop.toolbox
        )
        raw = images.compress(image_file, toolbox=shop.toolbox) if compress else image_file.raw
        for path in (image_file.described, raw):
            path.replace(output / path.name)
    return output / raw.name


def order(
    gateway: Gateway, shop: Workshop, style: Style, folder: Path | None, printer: str | None,
    signing: Signing | None,
) -> Order:  # fmt: skip
    """What becomes of a disk as this gateway; with `folder`, a label is written there."""
    row = Row(
        name=gateway.name, disk_serial=gateway.box.disk_serial or "", settings=gateway.digest()
    )
    label: Callable[[], str] | None = None
    if folder is not None:
        planned = labels.plan(gateway, style, image=shop.facts.name)
        path = folder / f"{gateway.name}.png"

        def label() -> str:
            write_whole(path, printing.png(planned, dpi=style.dpi))
            if printer:
                printing.send(path, printer)
            return f"label {'printed' if printer else path}"

    return Order(row=row, files=_files(gateway, signing), label=label)


COMMANDS: tuple[click.Command, ...] = (fleet_images, fleet_flash)
