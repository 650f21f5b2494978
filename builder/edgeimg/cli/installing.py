"""edgeimg install: an image to the internal disk of the machine that it runs on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg import process, tools
from edgeimg.cli import (
    flash_options,
    flashing,
    fleet_disks,
    fleet_options,
    options,
    signing_options,
)
from edgeimg.cli.app import App, with_app
from edgeimg.cli.streams import say
from edgeimg.errors import FlashError, HostError
from edgeimg.flash import safety
from edgeimg.flash.job import Outcome
from edgeimg.fleet import facts, labels, token
from edgeimg.fleet.ledger import Ledger
from edgeimg.fleet.reading import Fleet
from edgeimg.fleet.writing import begin
from edgeimg.fleet.writing import write as write_gateway
from edgeimg.image import blockmap
from edgeimg.install import countdown, disks, machine, rows, rules, source
from edgeimg.install.menu import Menu
from edgeimg.install.plan import Plan
from edgeimg.install.rules import After, Rules
from edgeimg.provision import advice, consents

_LEDGER = "install.ledger.jsonl"
_TIMEOUT = 60.0


@click.command(
    epilog="Examples: sudo edgeimg install releases/1.4.2 --fleet gateways.csv    "
    "sudo edgeimg install --rules install.toml"
)
@click.argument("image", metavar="[IMAGE]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Install unattended, by the rules in this file (TOML).",
)
@click.option(
    "--fleet",
    "fleet_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of a fleet (CSV or TOML): the machine becomes one of its gateways.",
)
@click.option(
    "--defaults",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default settings (TOML) for all gateways of the fleet.",
)
@flash_options.key
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Ledger of the flashed disks.  [default: beside the fleet's file, else {_LEDGER} beside "
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
    given = (image, fleet_file, defaults, key, ledger, logs)
    if rules_file is not None:
        if any(one is not None for one in given) or removable or after != "stay":
            raise click.UsageError("--rules says all of it: leave out the other options and IMAGE")
        _Installation(app, rules.load(rules_file), dry_run, rules_file).unattended()
        return
    if image is None:
        raise click.UsageError("expected IMAGE or --rules FILE; --help has examples")
    if defaults is not None and fleet_file is None:
        raise click.UsageError("--defaults are for a fleet: add --fleet FILE")
    chosen = Rules.model_validate(
        {
            "image": image,
            "key": key,
            # Somebody chooses the disk, and sees what is on it.
            "disk": {"min_size": 0, "removable": removable, "erase": True},
            **({"fleet": fleet_file, "defaults": defaults} if fleet_file else {}),
            "ledger": ledger,
            "logs": logs,
            "after": after,
        }
    )
    _Installation(app, chosen, dry_run, image).attended()


class _Installation:
    """One run of the command."""

    def __init__(self, app: App, wanted: Rules, dry_run: bool, named: Path) -> None:
        self._app, self._wanted, self._dry_run = app, wanted, dry_run
        self._machine = machine.read()
        self._images = source.images(wanted.image, tools.build_host())
        beside = named if named.is_dir() else named.parent
        fleet = wanted.fleet
        default = fleet_options.beside(fleet) if fleet else beside / _LEDGER
        self._book = Ledger(wanted.ledger or default)
        if wanted.logs:
            wanted.logs.mkdir(parents=True, exist_ok=True)  # refused now, or never

    def unattended(self) -> None:
        """Choose by the rules, count down, write."""
        image = source.one(self._images)
        size = self._verify(image)
        disk = disks.choose(self._disks(size), self._wanted.disk)
        fleet = self._fleet(image)
        row = (
            rows.only(fleet, self._wanted.row, self._machine, disk.device)
            if fleet is not None
            else None
        )
        plan = self._plan(image, size, disk, row)
        if self._is_installed(plan):
            self._app.ui.note(f"{disk.title} has it already, says {self._book.path}")
            self._end(plan, None)
            return
        self._run(plan, lambda: self._count_down(plan))

    def attended(self) -> None:
        """Ask for image, disk and row, ask once more, write."""
        if not sys.stdin.isatty() and not self._dry_run:
            raise HostError(
                "there is no terminal to ask on", hint="write rules and use --rules FILE"
            )
        if self._dry_run:
            self._show_disks()
            return
        menu = Menu(self._ask, self._say)
        self._say(f"This machine: {self._machine.title}")
        image = menu.image(self._images)
        size = self._verify(image)
        disk = menu.disk(self._disks(size))
        fleet = self._fleet(image)
        row = None
        if fleet is not None:
            likely = rows.find(fleet, rules.SIGNS, self._machine, disk.device)
            row = menu.row(fleet, likely)
        plan = self._plan(image, size, disk, row)
        self._run(plan, lambda: menu.confirm(plan))

    def _show_disks(self) -> None:
        image = self._images[0]
        size = self._verify(image)
        found = self._disks(size)
        data = {
            "machine": self._machine.to_json(),
            "images": [str(path) for path in self._images],
            "disks": [one.to_json() for one in found],
        }
        lines = [f"Machine: {self._machine.title}", *(f"Image:   {one}" for one in self._images)]
        for one in found:
            lines.append(f"Disk:    {one.title}")
            lines.append(f"  now:   {one.content}")
            lines += [f"  no:    {reason}" for reason in one.reasons]
        self._result(data, lines)

    def _verify(self, image: Path) -> int:
        """Bytes of the image on a disk, once signature and digests are good."""
        flash_options.verify_image(self._app, image, self._wanted.key)
        return blockmap.read(blockmap.beside(image)).image_size

    def _disks(self, size: int) -> tuple[disks.Candidate, ...]:
        which = self._wanted.disk
        return disks.look(size, removable=which.removable, erase=which.erase)

    def _fleet(self, image: Path) -> Fleet | None:
        """The gateways, with settings that the image takes."""
        path = self._wanted.fleet
        if path is None:
            return None
        takes = consents.beside(image)
        signing_options.require(None, signed=bool(takes and takes.signed), title=image.name)
        policy = options.load_recipe(None).recipe.provision
        found = fleet_options.load(
            self._app, path, self._wanted.defaults,
            generate_token=token.kept(path).exists(), secrets=True,
            allowed=takes.allow if takes else policy.allowed,
        )  # fmt: skip
        for gateway in found.gateways:
            consents.require_parts(takes, gateway.settings, f"{gateway.name}: the image")
            for warning in advice.warnings(gateway.settings):
                self._app.ui.note(f"warning: {gateway.name}: {warning}")
        return found

    def _plan(self, image: Path, size: int, disk: disks.Candidate, row: rows.Found | None) -> Plan:
        if row is not None:
            rows.require_disk(row.gateway, disk.device, arch=source.arch_of(image))
        return Plan(
            machine=self._machine, disk=disk, image=image, size=size, row=row,
            after=self._wanted.after,
        )  # fmt: skip

    def _is_installed(self, plan: Plan) -> bool:
        gateway = plan.row.gateway if plan.row else None
        read = self._book.read()
        fleet_options.tell_damage(self._app, self._book, read)
        entry = rows.installed(
            read,
            plan.disk.device,
            digest=facts.read(plan.image).digest,
            gateway=gateway.name if gateway else "",
            settings=gateway.digest() if gateway else "",
        )
        return entry is not None and not self._wanted.again

    def _count_down(self, plan: Plan) -> None:
        self._say("\n".join(plan.lines()))
        with self._app.ui.aside():
            countdown.wait(self._wanted.countdown, say, countdown.key_pressed)

    def _run(self, plan: Plan, agree: Callable[[], None]) -> None:
        if self._dry_run:
            self._result({**plan.to_json(), "installed": False}, plan.lines())
            return
        agree()
        outcome = self._write(plan)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if not outcome.ok:
            raise FlashError(f"{outcome.device}: {outcome.error}", hint=outcome.hint or None)
        self._end(plan, outcome)

    def _write(self, plan: Plan) -> Outcome:
        """Write with the code of `flash`, or of `fleet flash` when the machine has a row."""
        wanted, app = self._wanted, self._app
        chosen = safety.choose(Path(plan.disk.device.path), plan.size, fixed=True)
        device = chosen.device
        if device is None or safety.identity(device, chosen.real) != plan.disk.identity:
            raise HostError(f"{chosen.argument} is another disk than the one that was shown")
        if plan.row is None:
            blocks = blockmap.read(blockmap.beside(plan.image))
            with flashing.laid_out(app, plan.image, blocks, [chosen]) as large:
                (outcome,) = flashing.write(
                    app, plan.image, blocks, [chosen], large, logs=wanted.logs, book=self._book
                )
            return outcome
        shop = fleet_disks.workshop(app, plan.image, wanted.key, self._book, wanted.logs)
        order = fleet_disks.order(
            plan.row.gateway, shop, labels.Style(), folder=None, printer=None, signing=None
        )
        begun = begin(shop, order.row, chosen, [order.row.name])
        if begun is None:
            raise FlashError(f"{order.row.name} is being flashed by another process")
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(
                write_gateway, shop, order, chosen, begun, progress=app.ui, stop=stop
            )
            try:
                while not wait([future], timeout=0.5).done:  # in steps: an interrupt is seen
                    pass
            except KeyboardInterrupt:
                stop.set()
        return future.result().outcome

    def _end(self, plan: Plan, outcome: Outcome | None) -> None:
        """Print the result; then what is to be done afterwards."""
        data: dict[str, object] = {**plan.to_json(), "installed": True, "written": bool(outcome)}
        lines = [f"installed: {plan.image.name} on {plan.disk.title}"]
        if outcome is not None:
            data["result"] = outcome.to_json()
            lines.append(f"{safety.human(outcome.rate)}/s, the ledger is {self._book.path}")
        self._result(data, lines)
        if plan.after != "stay" and not self._dry_run:
            process.run(["systemctl", plan.after], timeout=_TIMEOUT)

    def _result(self, data: Mapping[str, object], lines: list[str]) -> None:
        def shown(console: Console) -> None:
            for line in lines:
                console.print(Text(line), soft_wrap=True)

        self._app.result(data, shown)

    def _ask(self, question: str) -> str:
        with self._app.ui.aside():
            answer: str = click.prompt(
                question, default="", show_default=False, err=True, prompt_suffix=": "
            )
        return answer

    def _say(self, text: str) -> None:
        with self._app.ui.aside():
            say(text)


COMMANDS: tuple[click.Command, ...] = (install,)
