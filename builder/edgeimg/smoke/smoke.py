"""Boot a finished image, unchanged, until a pod runs; restart it; find the same state.

The guest reports its own verdict over a virtio-serial port. The host has the deadlines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, sha256_file
from edgeimg.check import listening
from edgeimg.check.findings import Finding
from edgeimg.progress import Progress, Silent
from edgeimg.smoke import wear
from edgeimg.smoke.boots import Trial, boot_twice
from edgeimg.smoke.junit import junit
from edgeimg.smoke.verdict import Boot, Check, Sample, Stage, compare, judge
from edgeimg.text import json_text
from edgeimg.tools import Toolbox
from edgeimg.vm import accel as accels
from edgeimg.vm import disk
from edgeimg.vm.argv import Accel

__all__ = ["Boot", "Check", "SmokeReport", "Stage", "earlier", "junit", "smoke"]

PORTS = "only expected ports are open"
"""The name of the check whose failures are `findings`."""
KVM_SECONDS = 240
"""How long one boot may take with KVM."""


@dataclass(frozen=True, kw_only=True)
class SmokeReport:
    """What a guest did, and whether that is what is expected of it."""

    arch: str
    image: str
    image_sha256: str
    """Of the file that was booted."""
    accel: str
    accel_reason: str
    memory_mib: int
    cpus: int
    directory: Path
    """Where the console log, the journals and this report are."""
    boots: tuple[Boot, ...]
    checks: tuple[Check, ...]
    seconds: float
    findings: tuple[Finding, ...] = ()
    """Ports that are open and should not be."""
    lost: int = 0
    """How many guests before this one were lost by the emulator."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong, one line each; empty when the guest passed."""
        return tuple(f"{check.name}: {check.failure}" for check in self.checks if check.failure)

    @property
    def k3s_version(self) -> str:
        """What ran, as the image and the guest name it; says so when it is the stand-in."""
        report = next((boot.report for boot in self.boots if boot.report), {})
        info = report.get("k3s_image") or {}
        version = str(info.get("version") or report.get("kubelet_version") or "?")
        return f"{version} (stand-in)" if info.get("standin") else version

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json` and report.json."""
        return {
            **asdict(replace(self, directory=Path())),
            "directory": str(self.directory),
            "passed": not self.failures,
            "failures": list(self.failures),
            "k3s_version": self.k3s_version,
        }


def smoke(
    image: Path,
    arch: Arch,
    *,
    toolbox: Toolbox,
    store: Store,
    directory: Path,
    memory: int = 512,
    cpus: int = 2,
    deadline: float | None = None,
    accel: str = "auto",
    ports: Sequence[str] | None = None,
    writes: int | None = None,
    progress: Progress | None = None,
) -> SmokeReport:
    """Boot `image` (.raw or .raw.zst) twice in QEMU and judge what it reports.

    `memory` is in MiB, `deadline` in seconds for each boot, `ports` are those that may be open
    ([check] listening; None: any), `writes` the bytes an hour that may be written at rest ([budget]
    writes; None: not measured). console.log, journal-1.txt, journal-2.txt and report.json are
    left in `directory`. A guest that fails is a report with failures; raises ImageError,
    HostError or ToolError when there is nothing to boot it with.
    """
    progress = progress or Silent()
    chosen = accels.detect(arch, accel, toolbox=toolbox, store=store, progress=progress)
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
        accel=chosen,
        memory=memory,
        cpus=cpus,
        seconds=deadline or _allowed(arch, chosen),
        directory=directory,
        toolbox=toolbox,
        rest=writes is not None,
    )
    boots, lost = boot_twice(trial, progress)
    report = SmokeReport(
        arch=arch.name,
        image=image.name,
        image_sha256=sha256_file(image),
        accel=chosen.name,
        accel_reason=chosen.reason,
        memory_mib=memory,
        cpus=cpus,
        directory=directory,
        boots=boots,
        checks=_checks(boots, ports, writes),
        seconds=round(time.monotonic() - began, 1),
        lost=lost,
        findings=_open_ports(boots, ports),
    )
    with disk_errors(directory):
        text = json.dumps(report.to_json(), indent=2) + "\n"
        (directory / "report.json").write_text(text)
    return report


def earlier(
    directory: Path,
    image: Path,
    memory: int,
    ports: Sequence[str] | None = None,
    writes: int | None = None,
) -> SmokeReport | None:
    """The report in `directory` when the same bytes passed before with as much memory (MiB).

    With how many processors makes no difference; the report tells it. It is judged again: the
    recipe's `ports` and `writes` may have changed meanwhile.
    """
    try:
        data = json_text.read(directory / "report.json")
        boots = tuple(
            Boot(
                stages=tuple(Stage(**stage) for stage in boot["stages"]),
                samples=tuple(Sample(*sample) for sample in boot["samples"]),
                report=dict(boot["report"]),
                problem=str(boot["problem"]),
            )
            for boot in data["boots"]
        )
        report = SmokeReport(
            arch=str(data["arch"]),
            image=str(data["image"]),
            image_sha256=str(data["image_sha256"]),
            accel=str(data["accel"]),
            accel_reason=str(data["accel_reason"]),
            memory_mib=int(data["memory_mib"]),
            cpus=int(data["cpus"]),
            directory=directory,
            boots=boots,
            checks=_checks(boots, ports, writes),
            seconds=float(data["seconds"]),
            lost=int(data.get("lost", 0)),
            findings=_open_ports(boots, ports),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = report.image_sha256 == sha256_file(image) and report.memory_mib == memory
    return report if same and not report.failures else None


def _allowed(arch: Arch, accel: Accel) -> float:
    return KVM_SECONDS if accel.name == "kvm" else arch.qemu.boot_seconds


def _open_ports(boots: tuple[Boot, ...], allowed: Sequence[str] | None) -> tuple[Finding, ...]:
    """Ports that were open and should not be, in any of the boots; each once."""
    sockets = {str(name) for boot in boots for name in boot.report.get("listening") or ()}
    return () if allowed is None else tuple(listening.check(sockets, allowed))


def _checks(
    boots: tuple[Boot, ...], ports: Sequence[str] | None, writes: int | None
) -> tuple[Check, ...]:
    checks = [
        replace(check, name=f"boot {number}: {check.name}")
        for number, boot in enumerate(boots, 1)
        for check in judge(boot)
    ]
    if ports is not None and any(boot.report for boot in boots):
        told = "; ".join(found.message for found in _open_ports(boots, ports))
        checks.append(Check(name=PORTS, failure=told))
    if len(boots) == 2 and all(boot.report for boot in boots):
        checks += compare(boots[0].report, boots[1].report)
        if writes is not None:
            checks.append(wear.judge(boots[1].report, writes))
    return tuple(checks)
