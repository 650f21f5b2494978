"""Messages and questions for the technician who flashes a fleet."""

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
    _last_message: str = field(default="")

    def ask(self, chosen: Chosen, row: Row) -> bool:
        """Show what will be lost and ask. Without a terminal the answer is no."""
        if self.any_disk:
            return True
        if not sys.stdin.isatty():
            self.app.ui.note(
                f"{chosen.title} is ignored: there is no terminal to ask whether it becomes "
                f"{row.name}. Set disk_serial of the gateway, or use --any-disk"
            )
            return False
        contents = chosen.device.holds if chosen.device else ()
        with self.app.ui.aside():
            say(f"\n{chosen.title}")
            say(f"  now: {', '.join(contents) or 'no known content'}")
            answer = click.confirm(f"Replace all of it by {row.name}?", err=True)
        if not answer:
            self.app.ui.note("not written; remove and insert it again to repeat the question")
        return answer

    def passed(self, device: Device, reason: str) -> None:
        """Report that a disk is skipped, with the reason."""
        description = ", ".join(
            filter(None, (device.model, device.serial, safety.human(device.size)))
        )
        self.app.ui.note(f"{device.path} ({description}) is skipped: {reason}")

    def began(self, chosen: Chosen, row: Row) -> None:
        """Report that a disk is being written."""
        self._say("…", f"{row.name}: writing {chosen.title}", "cyan")

    def finished(self, done: Finished) -> None:
        """Report the outcome of a disk."""
        outcome = done.outcome
        if outcome.ok:
            message = f"{done.gateway}: written and read back in {outcome.seconds:.0f} s"
            message += f"; {done.label}" if done.label else ""
            self._say("✓", f"{message}. Remove {outcome.device}", "green")
        else:
            message = f"{done.gateway}: {outcome.device}: {outcome.error}"
            self._say("✗", "; ".join(filter(None, (message, outcome.hint))), "red")

    def waiting(self, progress: Mapping[str, match.Progress]) -> None:
        """Report which gateways wait for a disk, once for each change."""
        names = {row.name: row.disk_serial for row in self.rows}
        open_names = [name for name, state in progress.items() if state.state != "done"]
        labels = [
            f"{name} (disk {names[name]})" if names[name] else name for name in open_names[:8]
        ]
        more = f" and {len(open_names) - 8} more" if len(open_names) > 8 else ""
        message = f"{len(progress) - len(open_names)} of {len(progress)} done. Insert a disk for "
        message += ", ".join(labels) + more + ". Ctrl-C ends"
        if message != self._last_message:
            self._last_message = message
            self._say("⏏", message, "cyan")

    def _say(self, mark: str, text: str, style: str) -> None:
        if self.app.ui.verbosity >= 0:
            self.app.ui.console.print(Text.assemble((mark, style), " ", text))


def outcomes(done: Sequence[Finished], progress: Mapping[str, match.Progress]) -> Table:
    """The outcome of every disk, and the state of the gateways without one."""
    table = new_table("Gateway", "Disk", "Serial", "Result", "Time")
    for one in done:
        result = Text("written and read back", style="green")
        if not one.outcome.ok:
            problem = "; ".join(filter(None, (one.outcome.error, one.outcome.hint)))
            result = Text(problem, style="red")
        table.add_row(
            Text(one.gateway, no_wrap=True), one.outcome.device, one.outcome.serial, result,
            f"{one.outcome.seconds:.0f} s",
        )  # fmt: skip
    finished = {one.gateway for one in done}
    for name, state in progress.items():
        if name in finished:
            continue
        last = state.last
        when = f"flashed at {last.time} by {last.by}" if last and state.state == "done" else ""
        result = Text(when or "not flashed", style="green" if when else "yellow")
        serial = last.serial if last and when else ""
        table.add_row(Text(name, no_wrap=True), "", serial, result, "")
    return table
