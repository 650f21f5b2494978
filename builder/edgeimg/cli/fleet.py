"""edgeimg fleet check, labels, ledger: many gateways from one file, looked at and traced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from edgeimg.cache.store import write_whole
from edgeimg.cli import fleet_disks, fleet_options, fleet_register
from edgeimg.cli.app import App, with_app
from edgeimg.cli.table import new_table
from edgeimg.errors import HostError, ImageError
from edgeimg.fleet import facts, labels, ledger, printing, reading
from edgeimg.fleet.labels import Style
from edgeimg.fleet.ledger import Entry, Ledger
from edgeimg.fleet.reading import Fleet

_LOOKS = {"ok": "green", "failed": "red", "interrupted": "yellow", "started": "yellow"}


@click.group(
    epilog="Examples: edgeimg fleet check gateways.csv    "
    "sudo edgeimg fleet flash gateway_1.2.0_arm64.raw.zst gateways.csv"
)
def fleet() -> None:
    """Many gateways from one image and one file, CSV or TOML.

    `edgeimg provision --example` lists the keys of a row; the page "Fleets" describes the file.
    """


@click.command(epilog="Example: edgeimg fleet check gateways.csv --defaults site.toml")
@with_app
@fleet_options.fleet(secrets=False)
def check(app: App, *, fleet: Fleet) -> None:
    """Check a fleet file and show its gateways. All errors of all rows are reported at once."""
    rows = reading.summary(fleet)
    app.result({"gateways": rows}, lambda console: console.print(_gateways(rows)))


@click.command("labels", epilog="Example: edgeimg fleet labels gateways.csv -o labels.pdf")
@with_app
@fleet_options.fleet(secrets=False)
@fleet_options.ledger
@fleet_options.only
@fleet_options.style
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A PDF with a page for each label; or a directory for PNGs.",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Image whose version is printed on labels.  [default: the one in the ledger]",
)
def labels_command(
    app: App,
    *,
    fleet: Fleet,
    book: Ledger,
    only: tuple[str, ...],
    style: Style,
    output: Path,
    image: Path | None,
) -> None:
    """Make a label with a QR code for each gateway.

    Name, MAC, serial numbers and image are on it.
    """
    if image is not None and not image.is_file():
        raise ImageError(f"there is no image {image}")
    image_name = facts.read(image).name if image else None
    read = book.read()
    fleet_options.tell_damage(app, book, read)
    planned = {
        one.name: labels.plan(
            one, style, image=_image(read.last(one.name)) if image_name is None else image_name
        )
        for one in fleet.named(only).gateways
    }
    if output.suffix.lower() == ".pdf":
        write_whole(output, printing.pdf(list(planned.values()), dpi=style.dpi))
        paths = [output]
    elif output.suffix and not output.is_dir():
        raise HostError(
            f"labels cannot be written as {output.suffix}",
            hint="name a .pdf, or a directory for PNGs",
        )
    else:
        paths = [output / f"{name}.png" for name in planned]
        for path, label in zip(paths, planned.values(), strict=True):
            write_whole(path, printing.png(label, dpi=style.dpi))
    summary = f"{len(planned)} labels of {style.size[0]:g}x{style.size[1]:g} mm: {output}"
    app.result({"labels": [str(path) for path in paths]}, lambda console: console.print(summary))


@click.command("ledger", epilog="Example: edgeimg fleet ledger gateways.csv --serial S4EVNX0R1")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--gateway", default="", metavar="NAME", help="Only this gateway.")
@click.option("--serial", default="", metavar="S", help="Only the disk with this serial number.")
@click.option(
    "--digest",
    default="",
    metavar="D",
    help="Only this image: the beginning of its SHA-256 or root hash. Or of settings.",
)
@with_app
def ledger_command(app: App, *, path: Path, gateway: str, serial: str, digest: str) -> None:
    """List which gateways were flashed, when and with which image.

    FILE is a ledger, or a fleet's file.
    """
    where = fleet_options.beside(path) if path.suffix.lower() in (".csv", ".toml") else path
    if not where.is_file():
        raise HostError(f"there is no ledger {where}", hint="flashing with --ledger writes one")
    book = Ledger(where)
    read = book.read()
    fleet_options.tell_damage(app, book, read)
    runs = ledger.select(read.runs(), gateway=gateway, serial=serial, digest=digest)
    data: dict[str, object] = {"runs": [run.model_dump() for run in runs]}
    app.result(data, lambda console: console.print(_runs(runs)))


def _image(last: Entry | None) -> str:
    """The image of a gateway, as its label shows it."""
    if last is None or last.result != "ok" or not last.version:
        return ""
    return f"{facts.stem(Path(last.image)).partition('_')[0]} {last.version} {last.arch}"


def _gateways(rows: Sequence[dict[str, str]]) -> Table:
    titles = {
        "name": "Gateway", "role": "Role", "addresses": "Addresses", "disk_serial": "Disk",
        "mac": "MAC", "serial": "Serial", "arch": "For",
    }  # fmt: skip
    keys = [key for key in titles if any(row[key] for row in rows)]
    table = new_table(*(titles[key] for key in keys))
    for row in rows:
        table.add_row(*(Text(row[key], no_wrap=key == "name", overflow="fold") for key in keys))
    return table


def _runs(runs: Sequence[Entry]) -> Table:
    table = new_table("When (UTC)", "Gateway", "Disk", "Image", "SHA-256", "By", "Result")
    for run in runs:
        ended = run.result
        if ended == "started":
            outcome = "being written" if ledger.is_running(run) else "never finished"
        else:
            outcome = {"ok": "ok", "failed": f"failed: {run.error}"}.get(ended, ended)
        disk = ", ".join(filter(None, (run.model, run.serial))) or run.device
        cells = (
            Text(run.time[:16].replace("T", " ")), Text(run.gateway or "–"), Text(disk),
            Text(f"{run.version} {run.arch}".strip() or run.image), Text(run.digest[:12]),
            Text(run.by), Text(outcome, style=_LOOKS[ended]),
        )  # fmt: skip
        for cell in cells:
            cell.overflow = "fold"
        table.add_row(*cells)
    return table


for _command in (
    check, *fleet_disks.COMMANDS, labels_command, ledger_command, fleet_register.register_command,
):  # fmt: skip
    fleet.add_command(_command)

COMMANDS: tuple[click.Command, ...] = (fleet,)
