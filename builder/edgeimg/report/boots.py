"""A smoke report's boots on one clock: seconds since power-on (second boot: since the restart).

The guest's clock starts with its kernel; the time before it is from the host's clock, which saw
the same stages (edgeimg.smoke.smoke).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeimg.report.facts import ImageFacts
from edgeimg.smoke.verdict import Boot

PHASES = {
    "firmware": "Firmware",
    "kernel": "Kernel, initrd",
    "userland": "Userland",
    "containerd": "containerd",
    "k3s": "K3s API ready",
    "node": "Node Ready",
    "pod": "Pod Running",
    "http": "Pod answers",
    "settled": "Services run",
}
"""The phases of a boot. Each ends with the event in its name."""
MIB = 1024


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a boot; seconds."""

    key: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One boot of one architecture."""

    arch: str
    number: int
    phases: tuple[Phase, ...]
    samples: tuple[tuple[float, float], ...]
    """Seconds, and MiB in use."""
    problem: str

    @property
    def name(self) -> str:
        """Which boot it is."""
        return "First boot" if self.number == 1 else "Restart"

    @property
    def end(self) -> float:
        """Seconds until the last event."""
        return self.phases[-1].end if self.phases else 0.0

    @property
    def complete(self) -> bool:
        """It got to a pod that answers, or without K3s to its services."""
        return bool(self.phases) and self.phases[-1].key in ("http", "settled")

    def reached(self, key: str) -> float | None:
        """The end of a phase; None when it did not end."""
        return next((phase.end for phase in self.phases if phase.key == key), None)


def timelines(image: ImageFacts) -> tuple[Timeline, ...]:
    """Every boot of an image, as far as it got."""
    boots = image.smoke.boots if image.smoke else ()
    return tuple(_timeline(image.arch, number, boot) for number, boot in enumerate(boots, 1))


def _timeline(arch: str, number: int, boot: Boot) -> Timeline:
    stages = [stage for stage in boot.stages if stage.name in PHASES]
    # An event may have been read late, but never early.
    before = max(0.0, min((stage.elapsed - stage.uptime for stage in stages), default=0.0))
    marks: list[tuple[str, float]] = []
    if stages:
        booted = (boot.report.get("boot_us") or {}).get("Userspace") or 0
        marks.append(("firmware", before))
        if 0 < booted / 1e6 <= stages[0].uptime:
            marks.append(("kernel", before + booted / 1e6))
        marks += [(stage.name, before + stage.uptime) for stage in stages]
    phases, last = [], 0.0
    for key, end in marks:
        phases.append(Phase(key=key, start=last, end=max(last, end)))
        last = max(last, end)
    return Timeline(
        arch=arch,
        number=number,
        phases=tuple(phases),
        samples=tuple((before + when, mebibytes) for when, mebibytes in boot.samples),
        problem=boot.problem,
    )
