"""What a technician sees and is asked while disks become gateways."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import click
from rich.table import Table
from rich.text import Text

from edgeimg.cli.app import App
from edgeimg.cli.streams import say
from edgeimg.cli.table import new_table
from edgeimg.flash import safety
from edgeimg.flash.devices import Device
from edgeimg.flash.safety import Chosen
from edgeimg.fleet import match
from edgeimg.fleet.match import Row
from edgeimg.fleet.writing import Finished


@dataclass(kw_only=True)
class TerminalBench:
    """A `station.Bench` at a terminal."""

    app: App
    rows: Sequence[Row]
    any_disk: bool
    _told: str = field(default="")

    def ask(self, chosen: Chosen, row: Row) -> bool:
        """Show what will be lost, and ask; no is the answer where nobody is there."""
        if self.any_disk:
            return True
        if not sys.stdin.isatty():
            self.app.ui.note(
                f"{chosen.title} is ignored: there is no terminal to ask whether it becomes "
                f"{row.name}. Set disk_serial of the gateway, or use --any-disk"
            )
            return False
        held = chosen.device.holds if chosen.device else ()
        with self.app.ui.aside():
            say(f"\n{chosen.title}")
            say(f"  now: {', '.join(held) or 'nothing that is known'}")
            answer = click.confirm(f"Replace all of it by {row.name}?", err=True)
        if not answer:
            self.app.ui.note("left alone; take it out and put it in again to be asked once more")
        return answer

    def passed(self, device: Device, reason: str) -> None:
        """A disk is not written to, and why."""
        told = ", ".join(filter(None, (device.model, device.serial, safety.human(device.size))))
        self.app.ui.note(f"{device.path} ({told}) is left alone: {reason}")

    def began(self, chosen: Chosen, row: Row) -> None:
        """A disk is being written."""
        self._say("…", f"{row.name}: writing {chosen.title}", "cyan")

    def finished(self, done: Finished) -> None:
        """It is finished, or it failed."""
        outcome = done.outcome
        if outcome.ok:
            told = f"{done.gateway}: written and read back in {outcome.seconds:.0f} s"
            told += f"; {done.label}" if done.label else ""
            self._say("✓", f"{told}. Take {outcome.device} out", "green")
        else:
            told = f"{done.gateway}: {outcome.device}: {outcome.error}"
            self._say("✗", "; ".join(filter(None, (told, outcome.hint))), "red")

    def waiting(self, progress: Mapping[str, match.Progress]) -> None:
        """There is nothing to do until another disk comes: said once for every state of things."""
        names = {row.name: row.disk_serial for row in self.rows}
        left = [name for name, one in progress.items() if one.state != "done"]
        shown = [f"{name} (disk {names[name]})" if names[name] else name for name in left[:8]]
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        told = f"{len(progress) - len(left)} of {len(progress)} done. Insert a disk for "
        told += ", ".join(shown) + more + ". Ctrl-C ends"
        if told != self._told:
            self._told = told
            self._say("⏏", told, "cyan")

    def _say(self, mark: str, text: str, style: str) -> None:
        if self.app.ui.verbosity >= 0:
            self.app.ui.console.print(Text.assemble((mark, style), " ", text))


def outcomes(done: Sequence[Finished], progress: Mapping[str, match.Progress]) -> Table:
    """How it went with every disk, and how far every gateway is that had none."""
    table = new_table("Gateway", "Disk", "Serial", "Result", "Time")
    for one in done:
        result = Text("written and read back", style="green")
        if not one.outcome.ok:
            told = "; ".join(filter(None, (one.outcome.error, one.outcome.hint)))
            result = Text(told, style="red")
        table.add_row(
            Text(one.gateway, no_wrap=True), one.outcome.device, one.outcome.serial, result,
            f"{one.outcome.seconds:.0f} s",
        )  # fmt: skip
    seen = {one.gateway for one in done}
    for name, state in progress.items():
        if name in seen:
            continue
        last = state.last
        when = f"flashed at {last.time} by {last.by}" if last and state.state == "done" else ""
        result = Text(when or "not flashed", style="green" if when else "yellow")
        serial = last.serial if last and when else ""
        table.add_row(Text(name, no_wrap=True), "", serial, result, "")
    return table
