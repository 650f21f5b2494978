"""Boot a finished image, unchanged, until a pod runs, or without K3s until its services run;
restart it; find the same state.

The guest reports its own verdict over a virtio-serial port. The host has the deadlines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, sha256_file
from edgeimg.check import listening
from edgeimg.check.findings import Finding
from edgeimg.errors import ImageError
from edgeimg.progress import Progress
from edgeimg.smoke import board, wear
from edgeimg.smoke.boots import Trial, boot_twice
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.verdict import Boot, Check, compare, judge
from edgeimg.tools import Toolbox
from edgeimg.vm import disk
from edgeimg.vm.accel import detect
from edgeimg.vm.argv import Accel, GuestOptions

PORTS = "only expected ports are open"
"""The name of the check whose failures are `findings`."""
BOARD_SECONDS = 1500
"""How long a board's model may take to its root."""
KVM_SECONDS = 240
"""How long one boot may take with KVM."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The recipe's expectations of a guest."""

    ports: Sequence[str] | None = None
    """Ports that may be open ([check] listening); None: any."""
    k3s: bool = True
    """The image has K3s; without it, the guest is well when its services run."""
    writes: int | None = None
    """Bytes an hour that may be written at rest ([budget] writes); None: not measured."""


def run_smoke(
    image: Path,
    arch: Arch,
    options: GuestOptions,
    expected: Expected,
    *,
    directory: Path,
    toolbox: Toolbox,
    store: Store,
    progress: Progress,
) -> SmokeReport:
    """Boot `image` (.raw or .raw.zst) twice in QEMU and judge its reports.

    console.log, journal-1.txt, journal-2.txt and report.json are left in `directory`. A guest
    that fails is a report with failures. Raises ImageError, HostError or ToolError when it cannot
    be booted.
    """
    accelerator = detect(arch, options.accel, toolbox=toolbox, store=store, progress=progress)
    raw = disk.raw_image(image, store)
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for pattern in ("console*.log", "report.json", "journal-*.txt"):
            for stale in directory.glob(pattern):
                stale.unlink(missing_ok=True)
    began = time.monotonic()
    trial = Trial(
        arch=arch,
        raw=raw,
        accel=accelerator,
        options=options,
        seconds=options.deadline or _allowed(arch, accelerator),
        directory=directory,
        toolbox=toolbox,
        measure_writes=expected.writes is not None,
        k3s=expected.k3s,
    )
    boots: tuple[Boot, ...]
    if options.board is not None and not options.board.virtual:
        seconds = options.deadline or BOARD_SECONDS
        boots, lost = (board.watch(trial, options.board, seconds=seconds),), 0
        checks = board.judge(boots[0], options.board.model)
    else:
        boots, lost = boot_twice(trial, progress)
        checks = _checks(boots, expected)
    report = SmokeReport(
        arch=arch.name,
        image=image.name,
        image_sha256=sha256_file(image),
        accel=accelerator.name,
        accel_reason=accelerator.reason,
        memory_mib=options.memory,
        cpus=options.processors,
        directory=directory,
        boots=boots,
        checks=checks,
        seconds=round(time.monotonic() - began, 1),
        lost=lost,
        findings=_open_ports(boots, expected),
    )
    with disk_errors(directory):
        text = json.dumps(report.to_json(), indent=2) + "\n"
        (directory / "report.json").write_text(text)
    return report


def read_earlier(
    directory: Path, image: Path, memory: int, expected: Expected
) -> SmokeReport | None:
    """The report in `directory` when the same bytes passed before with as much memory (MiB).

    The number of processors does not matter; the report has it. It is judged again: what
    the recipe expects may have changed meanwhile.
    """
    try:
        old = SmokeReport.read(directory / "report.json")
    except ImageError:
        return None
    report = replace(
        old,
        directory=directory,
        checks=_checks(old.boots, expected),
        findings=_open_ports(old.boots, expected),
    )
    is_current = report.image_sha256 == sha256_file(image) and report.memory_mib == memory
    return report if is_current and not report.failures else None


def _allowed(arch: Arch, accel: Accel) -> float:
    return KVM_SECONDS if accel.name == "kvm" else arch.qemu.boot_seconds


def _open_ports(boots: tuple[Boot, ...], expected: Expected) -> tuple[Finding, ...]:
    """Ports that were open and should not be, in any of the boots; each once."""
    sockets = {str(name) for boot in boots for name in boot.report.get("listening") or ()}
    return () if expected.ports is None else tuple(listening.check(sockets, expected.ports))


def _checks(boots: tuple[Boot, ...], expected: Expected) -> tuple[Check, ...]:
    checks = [
        replace(check, name=f"boot {number}: {check.name}")
        for number, boot in enumerate(boots, 1)
        for check in judge(boot, k3s=expected.k3s)
    ]
    if expected.ports is not None and any(boot.report for boot in boots):
        open_ports = "; ".join(finding.message for finding in _open_ports(boots, expected))
        checks.append(Check(name=PORTS, failure=open_ports))
    if len(boots) == 2 and all(boot.report for boot in boots):
        checks += compare(boots[0].report, boots[1].report, k3s=expected.k3s)
        if expected.writes is not None:
            checks.append(wear.judge(boots[1].report, expected.writes))
    return tuple(checks)
