"""edgeimg install: an image to the internal disk of the machine that it runs on."""

from __future__ import annotations

from pathlib import Path

import click

from edgeimg.cli import flash_options, fleet_options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.installation import LEDGER, Installation
from edgeimg.install import rules
from edgeimg.install.rules import After, Rules


@click.command(
    epilog="Examples: sudo edgeimg install releases/1.4.2 --fleet gateways.csv    "
    "sudo edgeimg install --rules install.toml"
)
@click.argument("image", metavar="[IMAGE]", required=False, type=click.Path(path_type=Path))
@fleet_options.with_rules
@fleet_options.with_fleet
@fleet_options.with_defaults
@flash_options.key
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Ledger of the flashed disks.  [default: beside the fleet's file, else {LEDGER} beside "
    "IMAGE]",
)
@flash_options.logs
@click.option("--removable", is_flag=True, help="Also removable disks, such as SD cards.")
@click.option(
    "--after",
    type=click.Choice(["stay", "reboot", "poweroff"]),
    default="stay",
    show_default=True,
    help="What the machine does when it is installed.",
)
@click.option("--dry-run", is_flag=True, help="Show machine, disks and choice. Write nothing.")
@with_app
def install(
    app: App,
    *,
    image: Path | None,
    rules_file: Path | None,
    fleet_file: Path | None,
    defaults: Path | None,
    key: Path | None,
    ledger: Path | None,
    logs: Path | None,
    removable: bool,
    after: After,
    dry_run: bool,
) -> None:
    """Write an image to the internal disk of this machine.

    IMAGE is an image file, or a directory with the image for this architecture, such as a release
    on a stick. Without --rules it asks for disk and gateway. With --rules it asks nothing, counts
    down, and writes only when exactly one disk and one row fit. Disks that `edgeimg flash` refuses
    are refused.
    """
    if rules_file is not None:
        others = (image, fleet_file, defaults, key, ledger, logs)
        if any(one is not None for one in others) or removable or after != "stay":
            raise click.UsageError("--rules says all of it: leave out the other options and IMAGE")
        unattended = rules.load(rules_file)
        Installation(app, unattended, folder=rules_file.parent, dry_run=dry_run).unattended()
        return
    if image is None:
        raise click.UsageError("expected IMAGE or --rules FILE; --help has examples")
    if defaults is not None and fleet_file is None:
        raise click.UsageError("--defaults are for a fleet: add --fleet FILE")
    attended = Rules.model_validate(
        {
            "image": image,
            "key": key,
            # Somebody chooses the disk and the gateway, and sees what is on it.
            "disk": {"min_size": 0, "removable": removable, "erase": True},
            **({"fleet": fleet_file, "defaults": defaults} if fleet_file else {}),
            "ledger": ledger,
            "logs": logs,
            "after": after,
            "again": True,
        }
    )
    folder = image if image.is_dir() else image.parent
    Installation(app, attended, folder=folder, dry_run=dry_run).attended()


COMMANDS: tuple[click.Command, ...] = (install,)
