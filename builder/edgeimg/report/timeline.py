"""The boots of all architectures as bars over one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeimg.report.boots import PHASES, Timeline, timelines
from edgeimg.report.facts import ImageFacts
from edgeimg.report.text import duration, percent, short, ticks


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A phase as a part of a bar; percent of the axis."""

    key: str
    label: str
    start: float
    width: float
    took: str
    short: str
    at: str
    """When it ended."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One boot."""

    arch: str
    name: str
    segments: tuple[Segment, ...]
    total: str
    complete: bool
    problem: str
    cells: tuple[str, ...]
    """When each phase of PHASES ended, for the table."""


@dataclass(frozen=True, kw_only=True)
class BootChart:
    """Every boot."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    phases: tuple[tuple[str, str], ...]


def boot_chart(images: Sequence[ImageFacts]) -> BootChart:
    """Bars and axis; the axis ends a little after the longest boot."""
    boots = [boot for image in images for boot in timelines(image)]
    end = max((boot.end for boot in boots), default=0.0)
    return BootChart(
        bars=tuple(_bar(boot, end) for boot in boots),
        ticks=tuple((percent(second, end), _tick(second)) for second in ticks(end)),
        phases=tuple(PHASES.items()),
    )


def _bar(boot: Timeline, end: float) -> Bar:
    reached = {phase.key: duration(phase.end) for phase in boot.phases}
    first = {"firmware": "Shutdown, firmware"} if boot.number > 1 else {}
    return Bar(
        arch=boot.arch,
        name=boot.name,
        segments=tuple(
            Segment(
                key=phase.key,
                label=first.get(phase.key, PHASES[phase.key]),
                start=percent(phase.start, end),
                width=percent(phase.seconds, end),
                took=duration(phase.seconds),
                short=short(phase.seconds),
                at=duration(phase.end),
            )
            for phase in boot.phases
        ),
        total=duration(boot.end) if boot.phases else "nothing",
        complete=boot.complete,
        problem=boot.problem.partition("\n")[0],
        cells=tuple(reached.get(key, "—") for key in PHASES),
    )


def _tick(seconds: int) -> str:
    if seconds == 0:
        return "0"
    return f"{seconds} s" if seconds < 60 or seconds % 60 else f"{seconds // 60} min"
