"""edgeimg install: an image to the internal disk of the machine that it runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from edgeimg import tools
from edgeimg.cli import flash_options, fleet_options, install_release
from edgeimg.cli.app import App, with_app
from edgeimg.cli.installation import LEDGER, Installation
from edgeimg.install import rules
from edgeimg.install.rules import After, Rules


@click.command(
    epilog="Examples: sudo edgeimg install releases/1.4.2 --fleet gateways.csv    "
    "sudo edgeimg install --release https://releases.example/1.4.2 --key releases.asc    "
    "sudo edgeimg install --rules install.toml"
)
@click.argument("image", metavar="[IMAGE]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--release",
    "address",
    metavar="ADDRESS",
    help="Address of a signed release's directory, in place of IMAGE. Needs --key.",
)
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
    address: str | None,
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
        others = (image, address, fleet_file, defaults, key, ledger, logs)
        if any(one is not None for one in others) or removable or after != "stay":
            raise click.UsageError("--rules says all of it: leave out the other options and IMAGE")
        unattended = rules.load(rules_file)
        with _image(app, unattended) as found:
            Installation(
                app, unattended, found, folder=rules_file.parent, dry_run=dry_run
            ).unattended()
        return
    if (image is None) == (address is None):
        raise click.UsageError(
            "expected IMAGE, --release ADDRESS or --rules FILE; --help has examples"
        )
    if address is not None and not rules.is_address(address):
        raise click.UsageError("--release: expected an address such as https://host/1.4.2")
    if address is not None and key is None:
        raise click.UsageError("--release: add --key FILE, the key that the release is signed with")
    if defaults is not None and fleet_file is None:
        raise click.UsageError("--defaults are for a fleet: add --fleet FILE")
    attended = Rules.model_validate(
        {
            "image": image,
            "release": address,
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
    folder = Path() if image is None else image if image.is_dir() else image.parent
    with _image(app, attended) as found:
        Installation(app, attended, found, folder=folder, dry_run=dry_run).attended()


@contextlib.contextmanager
def _image(app: App, found: Rules) -> Iterator[Path]:
    """The image or directory of rules; a release is downloaded."""
    if found.image is not None:
        yield found.image
    elif found.release is not None and found.key is not None:
        with install_release.fetched(
            found.release, found.key, tools.build_host(), store=app.store, progress=app.ui
        ) as folder:
            yield folder


COMMANDS: tuple[click.Command, ...] = (install,)
