"""edgeimg hardware."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg.arch import ALIASES, Arch, find_arch
from edgeimg.build import coverage, pipeline
from edgeimg.cli import options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.table import new_table
from edgeimg.errors import CoverageError, MachineError, RecipeError
from edgeimg.hardware import lines, reading
from edgeimg.hardware.coverage import Coverage, Row
from edgeimg.hardware.machine import Machine
from edgeimg.image.raw import require_disk
from edgeimg.recipe.file import RecipeFile

_STYLES = {
    "ok": "green", "driver missing": "red", "firmware missing": "red",
    "left out": "yellow", "unclear": "yellow", "no driver": "",
}  # fmt: skip


@click.command(
    epilog="Examples: edgeimg hardware --machine box.txt    "
    "edgeimg hardware gateway.raw.zst --machine box.txt --json"
)
@click.argument(
    "target",
    required=False,
    metavar="[RECIPE|IMAGE]",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "-m",
    "--machine",
    "described",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Description of the machine: the output of `edgeimg-status --hardware`, "
    "`lspci -nnk`, `lsusb`, or of `grep . /sys/bus/*/devices/*/modalias` on any Linux.",
)
@options.arch(
    "x86-64, arm64 or arm, for a RECIPE.  [default: the one in FILE, else that of this computer]"
)
@options.recipe
@options.offline
@with_app
def hardware(
    app: App,
    *,
    target: Path | None,
    described: Path,
    source: RecipeFile,
    arch: Arch | None,
    offline: bool,
) -> None:
    """Compare a machine with an image: drivers and firmware.

    For each device of the machine. RECIPE ends with .toml, and nothing is built. Of an IMAGE (.raw
    or .raw.zst), the root is read; --recipe names the recipe whose lock has the kernel package.
    Prints the lines of the recipe that close the gaps. Exits with 20 when FILE cannot be read,
    names no device or is of another architecture, with 21 when a driver or all firmware of a device
    is missing.
    """
    machine = reading.read(described)
    if target is not None and target.suffix == ".toml":
        _refuse_both()
        source = options.load_recipe(target)
    if target is None or target.suffix == ".toml":
        found = coverage.of_recipe(
            source, machine, _arch(machine, source, arch),
            offline=offline, store=app.store, ui=app.ui,
        )  # fmt: skip
    else:
        if arch is not None:
            raise click.UsageError("an image has one architecture: leave --arch out")
        require_disk(target)
        toolbox = pipeline.pack_tools(source, store=app.store, ui=app.ui)
        found = coverage.of_image(
            target, source, machine,
            toolbox=toolbox, offline=offline, store=app.store, ui=app.ui,
        )  # fmt: skip
        _require_arch(machine, found.arch)
    for note in notes(found):
        app.ui.note(note)
    app.result(to_json(found), lambda console: show(console, found))
    if found.gaps:
        raise CoverageError(
            f"{found.image} lacks drivers or firmware for {len(found.gaps)} of "
            f"{len(found.rows)} devices",
            hint="add the printed lines to the recipe, and run `edgeimg lock` and "
            "`edgeimg hardware` again",
        )


def notes(found: Coverage) -> list[str]:
    """What limits the result."""
    limits = []
    if found.machine.unread:
        numbers = ", ".join(map(str, found.machine.unread[:5]))
        more = ", …" if len(found.machine.unread) > 5 else ""
        limits.append(
            f"{len(found.machine.unread)} lines of the description fit no format and are left "
            f"out: {numbers}{more}"
        )
    if found.kernel != found.image_kernel:
        limits.append(
            f"the image has Linux {found.image_kernel}, the lock {found.kernel}: the firmware that "
            "drivers ask for is that of the lock"
        )
    if any(row.state == "unclear" for row in found.rows):
        limits.append(
            "lsusb has no classes of interfaces, by which many USB drivers are found: use "
            "`lsusb -v`, or modalias lines of /sys"
        )
    return limits


def _refuse_both() -> None:
    context = click.get_current_context()
    origin = context.get_parameter_source("path")
    if origin is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("name the recipe once: as RECIPE, or with --recipe")


def _arch(machine: Machine, source: RecipeFile, arch: Arch | None) -> Arch:
    """That of --arch, else the machine's, else this host's. Raises RecipeError, MachineError."""
    own = ALIASES.get(machine.arch.lower())
    found = arch or own or find_arch(options.host_arch())
    if found not in source.recipe.archs:
        raise RecipeError(
            f"{source.path} is not for {found.name}, but for "
            f"{', '.join(item.name for item in source.recipe.archs)}",
            hint="add it to [image] architectures, or choose another --arch",
        )
    _require_arch(machine, found.name)
    return found


def _require_arch(machine: Machine, name: str) -> None:
    own = ALIASES.get(machine.arch.lower())
    if own is not None and own.name != name:
        raise MachineError(
            f"the machine is {own.name}, the image is for {name}", hint="choose another --arch"
        )


def show(console: Console, found: Coverage) -> None:
    """The table, and the lines for the recipe."""
    machine = found.machine
    title = f"{machine.title or 'the machine'} with {found.image}, Linux {found.image_kernel}"
    table = new_table("Device", "", "Image", "Debian", "Firmware", "", title=title)
    for row in found.rows:
        table.add_row(*_cells(row))
    console.print(table)
    if machine.compatible:
        console.print(Text(f"board: {', '.join(machine.compatible)}"), soft_wrap=True)
    added = lines.recipe_lines(found)
    if added:
        console.print(Text("Lines for the recipe:\n", style="bold"))
        console.print(Text("\n".join(added)), soft_wrap=True)
    if not found.gaps:
        console.print(Text("✓ no driver and no firmware is missing", style="green"))


def _cells(row: Row) -> tuple[Text, ...]:
    device = row.device
    used = f"the machine uses {', '.join(device.modules)}" if device.modules else ""
    return (
        Text(device.place.rpartition("/")[2] or "–", overflow="fold"),
        Text(device.title or device.modalias, overflow="ellipsis", no_wrap=True),
        Text(", ".join(row.image) or (f"{row.builtin} (kernel)" if row.builtin else "–")),
        Text(", ".join(row.debian) or used or "–"),
        Text(firmware(row)),
        Text(row.state, style=_STYLES[row.state], no_wrap=True),
    )


def firmware(row: Row) -> str:
    """How many of the files that its drivers ask for the root has: `iwlwifi 3/67`."""
    return ", ".join(
        f"{asked.module} {len(asked.present)}/{len(asked.files)}" for asked in row.firmware
    )


def to_json(found: Coverage) -> dict[str, object]:
    """Plain values, for --json."""
    machine = found.machine
    return {
        "machine": {
            "title": machine.title,
            "arch": machine.arch,
            "compatible": list(machine.compatible),
            "facts": [list(fact) for fact in machine.facts],
            "unread_lines": list(machine.unread),
        },
        "image": found.image,
        "arch": found.arch,
        "kernel": {"image": found.image_kernel, "lock": found.kernel},
        "devices": [
            {
                "place": row.device.place,
                "modalias": row.device.modalias,
                "title": row.device.title,
                "machine_uses": list(row.device.modules),
                "state": row.state,
                "image": list(row.image),
                "debian": list(row.debian),
                "builtin": row.builtin,
                "firmware": [
                    {
                        "module": asked.module,
                        "present": list(asked.present),
                        "missing": list(asked.missing),
                    }
                    for asked in row.firmware
                ],
            }
            for row in found.rows
        ],
        "gaps": len(found.gaps),
        "recipe": lines.recipe_lines(found),
    }


COMMANDS: tuple[click.Command, ...] = (hardware,)
