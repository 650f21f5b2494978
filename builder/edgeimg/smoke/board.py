"""A board's model without virtio is watched on its serial console, up to the verified root.

The path is the board's own: its ROM, the boot loader from the card, systemd-boot, UKI, root.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from edgeimg import process
from edgeimg.cache.store import disk_errors
from edgeimg.recipe.board import Emulation
from edgeimg.smoke.boots import Trial
from edgeimg.smoke.verdict import Boot, Check, Stage
from edgeimg.vm import machine
from edgeimg.vm.argv import BoardModel, qemu_argv

STAGES = (
    ("boot loader", re.compile(r"^U-Boot (?!SPL)\S")),
    ("kernel", re.compile(r"EFI stub: ")),
    ("root", re.compile(r"Welcome to .*Debian")),
    ("banner", re.compile(r"^\S+   .*   Kubernetes ")),
)
"""Stages on the console, in this order. systemd's welcome is from the root, which dm-verity has
proven by then; the banner is the gateway's own."""
_STEP = 2.0


def watch(trial: Trial, board: BoardModel, *, seconds: float) -> Boot:
    """Boot the trial's image, which is only read, and read the console until the banner.

    Raises ToolError or HostError when QEMU cannot start.
    """
    options = replace(
        trial.options,
        memory=board.model.memory or trial.options.memory,
        cpus=board.model.processors or trial.options.cpus,
    )
    toolbox, console = trial.toolbox, trial.directory / "console.log"
    with tempfile.TemporaryDirectory(prefix="edgeimg-vm-") as name, disk_errors(Path(name)):
        spec = machine.layout(
            trial.arch, trial.raw, Path(name), options, accel=trial.accel, console=console,
            toolbox=toolbox,
        )  # fmt: skip
        argv = qemu_argv(spec)
        errors = Path(name) / "qemu.log"
        began = time.monotonic()
        reached: list[tuple[str, float]] = []
        with (
            errors.open("wb") as log,
            process.start(
                toolbox.argv(argv[0], *argv[1:]), env=toolbox.environment(),
                stdout=process.DEVNULL, stderr=log, dies_with_us=True,
            ) as qemu,
        ):  # fmt: skip
            while len(reached) < len(STAGES) and time.monotonic() - began < seconds:
                if qemu.poll() is not None:
                    break
                time.sleep(_STEP)
                reached += _news(console, len(reached), round(time.monotonic() - began, 1))
            ended = qemu.poll()
        message = errors.read_text(errors="replace").strip()
    problem = ""
    if len(reached) < len(STAGES):
        cause = (
            f"QEMU ended with status {ended}: {message}" if ended is not None else "the deadline"
        )
        tail = machine.readable(_text(console))[-12:]
        problem = "\n  ".join([f"no {STAGES[len(reached)][0]} before {cause}", *tail])
    stages = tuple(Stage(name=name, uptime=0.0, elapsed=elapsed) for name, elapsed in reached)
    return Boot(stages=stages, problem=problem)


def judge(boot: Boot, model: Emulation) -> tuple[Check, ...]:
    """One check for each stage, and one for each part that the model lacks: it was not seen."""
    reached = {stage.name for stage in boot.stages}
    names = [name for name, _ in STAGES]
    missing = next((name for name in names if name not in reached), None)
    return tuple(
        Check(name=f"the board reaches its {name}", failure=boot.problem if name == missing else "")
        for name in names
        if name in reached or name == missing
    ) + tuple(Check(name=f"not tried, QEMU's model has none: {part}") for part in model.lacks)


def _news(console: Path, count: int, now: float) -> list[tuple[str, float]]:
    """The stages that the console shows beyond the first `seen`."""
    lines = machine.readable(_text(console))
    news = []
    for name, pattern in STAGES[count:]:
        if not any(pattern.search(line) for line in lines):
            break
        news.append((name, now))
    return news


def _text(console: Path) -> str:
    try:
        return console.read_text(errors="replace")
    except FileNotFoundError:
        return ""
