"""A roll-out → one HTML file: versions over time, failures by reason, sites, silent gateways.

The page has no script, and forbids itself everything but its own style.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from markupsafe import Markup

from edgeimg.report.rendering import asset, environment
from edgeimg.report.text import percent, ticks

Result = Literal["updated", "failed", "open"]
_LATEST = 253_402_300_800_000
"""The end of the year 9999, in milliseconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class GroupFacts:
    """One group; counts of gateways."""

    name: str
    status: str
    total: int
    succeeded: int
    failed: int
    running: int


@dataclass(frozen=True, kw_only=True)
class ReasonFacts:
    """Why gateways failed; `code` is None for a reason without one.

    `example` is what the first of them has reported.
    """

    code: int | None
    text: str
    gateways: tuple[str, ...]
    example: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GatewayFacts:
    """One gateway of a roll-out; times are milliseconds since 1970, None when unknown."""

    name: str
    site: str
    result: Result
    ended: int | None
    polled: int | None
    silent: bool


@dataclass(frozen=True, kw_only=True)
class RolloutFacts:
    """A roll-out at the moment `at`; `began` is its first order. Milliseconds since 1970."""

    name: str
    version: str
    status: str
    has_failed: bool
    at: int
    began: int | None
    groups: tuple[GroupFacts, ...]
    reasons: tuple[ReasonFacts, ...]
    gateways: tuple[GatewayFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Gateways with a result over time, in a box of 100 x 100."""

    updated: str
    failed: str
    xs: tuple[tuple[float, str], ...]
    ys: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Site:
    """Counts of one site's gateways; `share` is the per cent that have the version."""

    name: str
    total: int
    updated: int
    failed: int
    silent: int
    share: float


def rollout_page(facts: RolloutFacts) -> str:
    """The report of a roll-out as an HTML document. Every string of the facts is escaped."""
    total = sum(group.total for group in facts.groups)
    counts = {
        "updated": sum(group.succeeded for group in facts.groups),
        "failed": sum(group.failed for group in facts.groups),
        "on their way": sum(group.running for group in facts.groups),
    }
    state = "failed" if facts.has_failed else "passed" if facts.status == "finished" else "untested"
    values: dict[str, object] = {
        "facts": facts,
        "state": state,
        "total": total,
        "counts": {**counts, "not reached": max(0, total - sum(counts.values()))},
        "curve": curve(facts, total),
        "sites": sites(facts),
        "silent": [(one, when(one.polled)) for one in facts.gateways if one.silent],
        "at": when(facts.at),
        "percent": percent,
        "style": Markup(asset("style.css")),
    }
    return environment().get_template("rollout.html").render(values)


def when(milliseconds: int | None) -> str:
    """`2026-11-29 17:40 UTC`; `never` without a time or with one that no calendar has."""
    if milliseconds is None or not 0 < milliseconds < _LATEST:
        return "never"
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def curve(facts: RolloutFacts, total: int) -> Curve | None:
    """From the first order to the last result, or to now; None before the first result."""
    ended = sorted(
        (one.ended, one.result) for one in facts.gateways
        if one.ended is not None and one.result != "open"
    )  # fmt: skip
    if not ended or facts.began is None:
        return None
    last = ended[-1][0] if facts.status in ("finished", "stopped") else facts.at
    length = max(1, last - facts.began)
    points: dict[Result, list[str]] = {"updated": ["0,100"], "failed": ["0,100"]}
    count: Counter[Result] = Counter()
    for moment, result in ended:
        x = percent(moment - facts.began, length)
        points[result].append(f"{x:g},{_y(count[result], total):g}")
        count[result] += 1
        points[result].append(f"{x:g},{_y(count[result], total):g}")
    for name, line in points.items():
        line.append(f"100,{_y(count[name], total):g}")
    seconds = length / 1000
    marks = sorted({0, total // 4, total // 2, total * 3 // 4, total})
    return Curve(
        updated=" ".join(dict.fromkeys(points["updated"])),
        failed=" ".join(dict.fromkeys(points["failed"])),
        xs=tuple((percent(one, seconds), _after(one)) for one in ticks(seconds, 5)),
        ys=tuple((_y(one, total), str(one)) for one in marks),
    )


def sites(facts: RolloutFacts) -> tuple[Site, ...]:
    """Each site, those with most failures first."""
    by_name: dict[str, list[GatewayFacts]] = {}
    for one in facts.gateways:
        by_name.setdefault(one.site, []).append(one)
    found = []
    for name, members in by_name.items():
        results = Counter(one.result for one in members)
        found.append(Site(
            name=name, total=len(members), updated=results["updated"], failed=results["failed"],
            silent=sum(one.silent for one in members),
            share=percent(results["updated"], len(members)),
        ))  # fmt: skip
    return tuple(sorted(found, key=lambda one: (-one.failed, -one.silent, one.name)))


def _y(count: int, total: int) -> float:
    return round(100 - percent(count, total), 3)


def _after(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s" if seconds else "0"
    return f"{seconds // 60} min" if seconds % 3600 else f"{seconds // 3600} h"
