"""Boots, restarts and stops a guest, with deadlines for its reports.

The host has the deadlines. An emulated guest that the emulator lost is started once more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.errors import EdgeimgError, SmokeError
from edgeimg.progress import Advance, Progress
from edgeimg.smoke import wear
from edgeimg.smoke.verdict import PLAIN_STAGES, SETTLED, STAGES, Boot, Sample, Stage, is_settled
from edgeimg.text.json_text import JsonObject
from edgeimg.tools import Toolbox
from edgeimg.vm import machine
from edgeimg.vm.argv import Accel, GuestOptions
from edgeimg.vm.machine import Guest, GuestLostError

LOSSES = 2
"""How often a guest may be lost and started again; after that its deadlines decide."""
_SHARES = {"userland": 0.4, "containerd": 0.6}
"""Parts of a boot's time after which a stage must have been reached; the others: all of it."""
_JOURNAL_SECONDS = 120.0
_POWEROFF_SECONDS = 120.0
_PLAIN_SECONDS = 10.0
"""Between two questions to a guest without K3s whether it has settled."""
_WRITES_SECONDS = 300.0
"""For the guest's 75 seconds at rest. An emulated guest may report late."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The image, the options of the guest, and the deadlines."""

    arch: Arch
    raw: Path
    """The disk image, decompressed; only read."""
    accel: Accel
    options: GuestOptions
    seconds: float
    """How long one boot may take."""
    directory: Path
    """Where console and journals go."""
    toolbox: Toolbox
    measure_writes: bool = False
    """Let the guest measure its writes at rest, in the second boot."""
    k3s: bool = True
    """The guest has K3s. Without it, the host asks for the report until the guest has settled."""


def boot_twice(trial: Trial, progress: Progress) -> tuple[tuple[Boot, ...], int]:
    """Boot, restart, power off; the boots, and how often the guest was lost before.

    The second boot is missing when the first had a problem. Leaves console.log and journal-N.txt,
    and console.lost-N.log of guests that were lost. Raises ToolError or HostError when there is
    no QEMU to run it.
    """
    lost = 0
    while True:
        try:
            return _attempt(trial, progress, watchful=lost < LOSSES), lost
        except GuestLostError as error:
            lost += 1
            progress.note(f"{trial.arch.name}: {error.message}; starting it again")
            console = trial.directory / "console.log"
            console.replace(console.with_name(f"console.lost-{lost}.log"))


def _attempt(trial: Trial, progress: Progress, *, watchful: bool) -> tuple[Boot, ...]:
    stages = STAGES if trial.k3s else PLAIN_STAGES
    with (
        progress.task(f"{trial.arch.name} boots", 2 * len(stages), "items") as advance,
        machine.start(
            trial.arch, trial.raw, trial.options, accel=trial.accel,
            console=trial.directory / "console.log", toolbox=trial.toolbox, watchful=watchful,
        ) as guest,
    ):  # fmt: skip
        return _two_boots(guest, trial, advance, progress.debug)


def _two_boots(
    guest: Guest, trial: Trial, advance: Advance, debug: Callable[[str], None]
) -> tuple[Boot, ...]:
    boots: list[Boot] = []
    for number in (1, 2):
        boot = _boot(guest, trial.seconds, advance, debug, k3s=trial.k3s)
        boots.append(boot)
        reached = {stage.name for stage in boot.stages}
        if "userland" in reached:
            _save_journal(guest, trial.directory / f"journal-{number}.txt")
        if boot.problem:
            return tuple(boots)
        if trial.measure_writes and number == 2:
            boots[-1] = replace(
                boot, report={**boot.report, wear.KEY: _answer(guest, "rest", _WRITES_SECONDS)}
            )
        guest.channel.send("reboot" if number == 1 else "poweroff")
    with contextlib.suppress(EdgeimgError):
        _wait_for_end(guest)
    return tuple(boots)


def _boot(
    guest: Guest,
    allowed: float,
    advance: Advance,
    debug: Callable[[str], None],
    *,
    k3s: bool = True,
) -> Boot:
    expected_stages = STAGES if k3s else PLAIN_STAGES
    began = time.monotonic()
    stages: list[Stage] = []
    samples: list[Sample] = []
    try:
        while True:
            reached = len(stages)
            expected = expected_stages[reached] if reached < len(expected_stages) else "report"
            deadline = began + allowed * _SHARES.get(expected, 1.0)
            event = guest.channel.event(deadline, guest.alive)
            samples += _sample(event)
            if event.get("event") == "stage":
                elapsed = round(time.monotonic() - began, 1)
                uptime = float(event.get("uptime", 0))
                stages.append(Stage(name=str(event["name"]), uptime=uptime, elapsed=elapsed))
                debug(f"{event['name']} after {elapsed:.0f} s")
                advance(1)
                if not k3s:
                    time.sleep(_PLAIN_SECONDS)
                    guest.channel.send("report")
            elif event.get("event") == "report" and not k3s and not is_settled(event):
                time.sleep(_PLAIN_SECONDS)
                guest.channel.send("report")
            elif event.get("event") == "report":
                if not k3s:
                    elapsed = round(time.monotonic() - began, 1)
                    uptime = float(event.get("uptime", 0))
                    stages.append(Stage(name=SETTLED, uptime=uptime, elapsed=elapsed))
                    advance(1)
                return Boot(stages=tuple(stages), samples=tuple(sorted(samples)), report=event)
    except GuestLostError:
        raise
    except SmokeError as error:
        waited = time.monotonic() - began
        problem = f"no '{expected}' after {waited:.0f} s: {error.message}"
        tail = "\n  ".join(guest.tail())
        return Boot(
            stages=tuple(stages),
            samples=tuple(sorted(samples)),
            report=_answer(guest, "report", _JOURNAL_SECONDS) if stages else {},
            problem=f"{problem}\n  {tail}" if tail and tail not in problem else problem,
        )


def _sample(event: JsonObject) -> list[Sample]:
    """The memory in use in an event. Guests of older images do not report it."""
    try:
        mebibytes = int(event["memory_used"]) // 1024
        return [Sample(uptime=float(event["uptime"]), used=mebibytes)]
    except (KeyError, TypeError, ValueError):
        return []


def _answer(guest: Guest, command: str, seconds: float) -> JsonObject:
    """The answer of the guest to `report` or `rest`; empty without one within `seconds`."""
    with contextlib.suppress(EdgeimgError, OSError):
        guest.channel.send(command)
        deadline = time.monotonic() + seconds
        while True:
            event = guest.channel.event(deadline, guest.alive)
            if event.get("event") == command:
                return event
    return {}


def _save_journal(guest: Guest, path: Path) -> None:
    """Store the guest's journal. A missing journal is not a failure."""
    with contextlib.suppress(EdgeimgError, OSError):
        guest.channel.send("journal")
        deadline = time.monotonic() + _JOURNAL_SECONDS
        while guest.channel.event(deadline, guest.alive).get("event") != "journal-begin":
            pass
        path.write_text(guest.channel.text("journal-end", deadline, guest.alive))


def _wait_for_end(guest: Guest) -> None:
    deadline = time.monotonic() + _POWEROFF_SECONDS
    while guest.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(SmokeError):
            guest.channel.event(min(deadline, time.monotonic() + 1), guest.alive)
