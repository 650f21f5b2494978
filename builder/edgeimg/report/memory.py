"""Memory in use over time, against what the machine has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeimg.report.boots import MIB, Timeline, timelines
from edgeimg.report.facts import ImageFacts
from edgeimg.report.text import duration, percent, ticks
from edgeimg.smoke.report import SmokeReport

_MARKS = {"containerd": "containerd", "k3s": "K3s API ready", "pod": "Pod Running"}
_HEADROOM = 1.06


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place on the chart, in percent from its left and its top."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One boot."""

    name: str
    number: int
    points: str
    """Of a polyline, in a box of 100 × 100."""
    area: str
    """The same, closed along the bottom."""
    marks: tuple[Mark, ...]
    peak: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One architecture."""

    arch: str
    lines: tuple[Line, ...]
    limit: Mark
    """Memory of the machine."""
    usable: Mark | None
    """Memory that the kernel leaves free."""
    xs: tuple[Mark, ...]
    ys: tuple[Mark, ...]
    rows: tuple[tuple[str, ...], ...]
    """Boot; MiB in use at the end, peak, still available, in zram."""


def charts(images: tuple[ImageFacts, ...]) -> tuple[Chart, ...]:
    """A chart per image that was booted, all with the same scale of memory."""
    booted = [(image, image.smoke) for image in images if image.smoke and image.smoke.boots]
    limits = [smoke.memory_mib for _, smoke in booted]
    top = max(limits, default=512) * _HEADROOM
    return tuple(_chart(image, smoke, top) for image, smoke in booted)


def _chart(image: ImageFacts, smoke: SmokeReport, top: float) -> Chart:
    boots, limit = timelines(image), smoke.memory_mib
    end = max((when for boot in boots for when, _ in boot.samples), default=0.0)
    memories = [boot.report.get("memory_kib") or {} for boot in smoke.boots]
    total = max((memory.get("total", 0) for memory in memories), default=0) / MIB
    usable = Mark(x=0, y=_y(total, top), label=f"{total:.0f} MiB left by the kernel")
    return Chart(
        arch=image.arch,
        lines=tuple(_line(boot, end, top) for boot in boots if boot.samples),
        limit=Mark(x=0, y=_y(limit, top), label=f"{limit} MiB"),
        usable=usable if 0 < total < limit else None,
        xs=tuple(Mark(x=percent(t, end), y=100, label=_clock(t)) for t in ticks(end, 4)),
        ys=tuple(
            Mark(x=0, y=_y(mib, top), label=str(mib))
            for mib in range(0, limit, 128 if limit <= 1024 else limit // 4)
        ),
        rows=tuple(
            (
                boot.name,
                *(
                    f"{memory[key] / MIB:.0f}" if key in memory else "—"
                    for key in ("used", "peak", "available", "swap_used")
                ),
            )
            for boot, memory in zip(boots, map(_memory, boots, memories), strict=True)
        ),
    )


def _memory(boot: Timeline, memory: Mapping[str, int]) -> Mapping[str, int]:
    """The memory in a boot's report, or that of its samples if it has no report."""
    if memory or not boot.samples:
        return memory
    return {"peak": round(max(used for _, used in boot.samples) * MIB)}


def _line(boot: Timeline, end: float, top: float) -> Line:
    points = [(percent(when, end), _y(mebibytes, top)) for when, mebibytes in boot.samples]
    text = " ".join(f"{x:g},{y:g}" for x, y in points)
    peak = max(mebibytes for _, mebibytes in boot.samples)
    return Line(
        name=boot.name,
        number=boot.number,
        points=text,
        area=f"{points[0][0]:g},100 {text} {points[-1][0]:g},100",
        marks=tuple(
            Mark(
                x=percent(when, end),
                y=_y(_at(boot, when), top),
                label=f"{label} after {duration(when)}: {_at(boot, when):.0f} MiB in use",
            )
            for key, label in _MARKS.items()
            if (when := boot.reached(key)) is not None
        ),
        peak=f"{peak:.0f} MiB",
    )


def _at(boot: Timeline, when: float) -> float:
    """MiB in use at the sample nearest to a moment."""
    return min(boot.samples, key=lambda sample: abs(sample[0] - when))[1]


def _y(mib: float, top: float) -> float:
    return round(100 - percent(mib, top), 3)


def _clock(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60}:{seconds % 60:02}"
