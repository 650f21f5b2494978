"""One run of `edgeimg install`: choose, say what will happen, write, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg import fetch, process, tools
from edgeimg.cli import flash_options, fleet_options, install_disk, options, signing_options
from edgeimg.cli.app import App
from edgeimg.cli.streams import say
from edgeimg.errors import FetchError, FlashError, HostError, ToolError
from edgeimg.flash import safety
from edgeimg.flash.job import Outcome
from edgeimg.fleet import facts, token
from edgeimg.fleet.ledger import Entry, Ledger, Read
from edgeimg.fleet.reading import Fleet
from edgeimg.image import blockmap
from edgeimg.install import boot_entry, countdown, disks, machine, rows, rules, source
from edgeimg.install.menu import Menu
from edgeimg.install.plan import Plan
from edgeimg.install.rules import Rules
from edgeimg.provision import advice, consents

LEDGER = "install.ledger.jsonl"
_TIMEOUT = 60.0


class Installation:
    """One run of the command."""

    def __init__(self, app: App, rules: Rules, image: Path, *, folder: Path, dry_run: bool) -> None:
        """`image` is a file or directory; `folder` has the ledger without a fleet."""
        self._app, self._rules, self._dry_run = app, rules, dry_run
        self._machine = machine.read()
        self._images = source.images(image, tools.build_host())
        default = fleet_options.beside(rules.fleet) if rules.fleet else folder / LEDGER
        self._ledger = Ledger(rules.ledger or default)
        self._before = self._written()

    def unattended(self) -> None:
        """Choose by the rules, count down, write."""
        image = source.one(self._images)
        size = self._verify(image)
        disk = disks.choose(self._disks(size), self._rules.disk)
        fleet = self._fleet(image, asks=False)
        row = None
        if fleet is not None:
            row = rows.only(fleet, self._rules.row, self._machine, disk.device)
        plan = self._plan(image, size, disk, row)
        ledger = self._read_ledger()
        last = self._last_run(ledger, plan)
        if last is not None and last.result == "ok" and disk.data and not self._rules.again:
            self._app.ui.note(f"{disk.title} has it already, says {self._ledger.path}")
            self._end(plan, None)
            return
        if row is not None and not self._rules.again:
            rows.require_unused(ledger, row.gateway, disk.device)
        # The data of an installation of the same that was interrupted is its own.
        if last is None and not self._rules.disk.erase:
            disks.require_free(disk)
        self._run(plan, lambda: self._count_down(plan))

    def attended(self) -> None:
        """Ask for image, disk and row, ask once more, write."""
        if self._dry_run:
            self._show_disks()
            return
        if not sys.stdin.isatty():
            raise HostError(
                "there is no terminal to ask on", hint="write rules and use --rules FILE"
            )
        menu = Menu(self._ask, self._say)
        self._say(f"This machine: {self._machine.title}")
        image = menu.image(self._images)
        size = self._verify(image)
        disk = menu.disk(self._disks(size))
        fleet = self._fleet(image, asks=True)
        row = None
        if fleet is not None:
            ledger = self._read_ledger()
            likely = rows.find(fleet, rules.SIGNS, self._machine, disk.device)
            places = {
                one.name: rows.place(entry)
                for one in fleet.gateways
                if (entry := rows.elsewhere(ledger, one, disk.device))
            }
            row = menu.row(fleet, likely, places)
        plan = self._plan(image, size, disk, row)
        self._run(plan, lambda: menu.confirm(plan))

    def _show_disks(self) -> None:
        """Machine, images and disks; of several images the disks are judged for the largest."""
        found = self._disks(max(map(self._verify, self._images)))
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
        flash_options.verify_image(self._app, image, self._rules.key)
        return blockmap.read(blockmap.beside(image)).image_size

    def _disks(self, size: int) -> tuple[disks.Candidate, ...]:
        return disks.look(size, removable=self._rules.disk.removable)

    def _fleet(self, image: Path, *, asks: bool) -> Fleet | None:
        """The gateways, with settings that the image takes. Missing secrets are asked for if it
        `asks`.
        """
        path = self._rules.fleet
        if path is None:
            return None
        takes = consents.beside(image)
        signing_options.require(None, signed=bool(takes and takes.signed), title=image.name)
        found = fleet_options.load(
            self._app, path, self._rules.defaults,
            generate_token=token.kept(path).exists(), secrets=True, asks=asks,
            allowed=takes.allow if takes else options.load_recipe(None).recipe.provision.allowed,
        )  # fmt: skip
        for gateway in found.gateways:
            consents.require_parts(takes, gateway.settings, f"{gateway.name}: the image")
            for warning in advice.warnings(gateway.settings):
                self._app.ui.note(f"warning: {gateway.name}: {warning}")
        return found

    def _plan(self, image: Path, size: int, disk: disks.Candidate, row: rows.Found | None) -> Plan:
        if row is not None:
            rows.require_match(row.gateway, self._machine, disk.device, arch=source.arch_of(image))
        return Plan(
            machine=self._machine, disk=disk, image=image, size=size, row=row,
            after=self._rules.after,
        )  # fmt: skip

    def _read_ledger(self) -> Read:
        read = self._ledger.read()
        fleet_options.tell_damage(self._app, self._ledger, read)
        return read

    def _last_run(self, ledger: Read, plan: Plan) -> Entry | None:
        gateway = plan.row.gateway if plan.row else None
        return rows.last_run(
            ledger,
            plan.disk.device,
            digest=facts.read(plan.image).digest,
            gateway=gateway.name if gateway else "",
            settings=gateway.digest() if gateway else "",
        )

    def _count_down(self, plan: Plan) -> None:
        self._say("\n".join(plan.lines()))
        with self._app.ui.aside():
            countdown.wait(self._rules.countdown, say, countdown.key_pressed)

    def _run(self, plan: Plan, agree: Callable[[], None]) -> None:
        if self._dry_run:
            self._result({**plan.to_json(), "installed": False}, plan.lines())
            return
        with install_disk.writer(self._app, plan, self._rules, self._ledger) as write:
            agree()
            outcome = write()
        if outcome.interrupted:
            raise KeyboardInterrupt
        if not outcome.ok:
            try:
                self._report(plan)
            except FetchError as error:
                self._app.ui.note(error.message)
            raise FlashError(f"{outcome.device}: {outcome.error}", hint=outcome.hint or None)
        self._end(plan, outcome)

    def _end(self, plan: Plan, outcome: Outcome | None) -> None:
        """Print the result; then what is to be done afterwards."""
        data: dict[str, object] = {**plan.to_json(), "installed": True, "written": bool(outcome)}
        lines = [f"installed: {plan.image.name} on {plan.disk.title}"]
        if outcome is not None:
            data["result"] = outcome.to_json()
            lines.append(f"{safety.human(outcome.rate)}/s, the ledger is {self._ledger.path}")
        data["starts_next"] = self._start_next(plan)
        if data["starts_next"]:
            lines.append("BootNext is set: the next boot is from this disk")
        self._result(data, lines)
        self._report(plan)  # before a restart, which clears a ledger in memory
        if plan.after != "stay" and not self._dry_run:
            process.run(["systemctl", plan.after], timeout=_TIMEOUT)

    def _written(self) -> int:
        """Bytes of the ledger."""
        return self._ledger.path.stat().st_size if self._ledger.path.exists() else 0

    def _report(self, plan: Plan) -> None:
        """Store what was added to the ledger on a server, if the rules name one.

        Raises FetchError when the server does not take it.
        """
        address = self._rules.report
        if address is None or self._written() == self._before:
            return
        added = self._ledger.path.read_bytes()[self._before :]
        name = f"{self._machine.name or plan.disk.device.serial or 'machine'}.ledger.jsonl"
        with self._app.ui.step(f"report to {address}"):
            try:
                fetch.put(f"{address.rstrip('/')}/{name}", added, name="the ledger")
            except FetchError as error:
                raise FetchError(error.message, hint=f"copy {self._ledger.path}") from error

    def _start_next(self, plan: Plan) -> bool:
        """Set BootNext to the disk; whether it is set.

        Not in a dry run, for removable disks, and on machines without UEFI variables.
        """
        if self._dry_run or plan.disk.device.removable or not boot_entry.is_possible():
            return False
        try:
            boot_entry.start_next(plan.disk.device, tools.build_host())
        except (HostError, ToolError) as error:
            self._app.ui.note(f"BootNext is not set, the boot order decides: {error.message}")
            return False
        return True

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
