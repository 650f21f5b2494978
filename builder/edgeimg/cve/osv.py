"""OSV records (schema 1.x): who is affected, by ranges of versions.

The evaluation is the schema's: a version is affected when it is listed, or when the last event
at or before it in a range is `introduced`. Ranges of commits are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

from edgeimg.cve.subjects import COMPARE, GO, Subject
from edgeimg.cve.versions import Compare
from edgeimg.cve.vulnerability import Index, Vulnerability, identify
from edgeimg.errors import ArchiveError
from edgeimg.streams.limits import Budget
from edgeimg.text.json_text import JsonObject

_MAX_EVENTS = 10_000
"""Of one range; the records of Debian and Go have less than 100."""
_BOUNDS = ("introduced", "fixed", "last_affected", "limit")


def looks_like(data: Any) -> bool:
    """Whether parsed JSON is a record: all have an id and a time stamp."""
    return isinstance(data, dict) and "id" in data and ("modified" in data or "affected" in data)


def vulnerabilities(record: JsonObject, index: Index, budget: Budget) -> Iterator[Vulnerability]:
    """The vulnerabilities of the subjects in one record. A withdrawn record has none.

    Raises ArchiveError when that is too much work.
    """
    if record.get("withdrawn"):
        return
    for affected in record.get("affected") or ():
        package = affected.get("package") or {}
        ecosystem, _, release = str(package.get("ecosystem", "")).partition(":")
        name = str(package.get("name", ""))
        key = (ecosystem, name.lower() if ecosystem == GO else name)
        for subject in index.get(key, ()):
            budget.move(0)
            if release in ("", subject.release):
                hit, fixed = _evaluate(affected, subject, budget)
                if hit:
                    yield _vulnerability(record, affected, subject, fixed)


def _evaluate(affected: JsonObject, subject: Subject, budget: Budget) -> tuple[bool, str]:
    """Whether the subject is affected, and the first version that no longer is."""
    compare = COMPARE[subject.ecosystem]
    hit = subject.version in (affected.get("versions") or ())
    fixes: list[str] = []
    for span in affected.get("ranges") or ():
        budget.move(0)
        if len(span.get("events") or ()) > _MAX_EVENTS:
            raise ArchiveError(f"{budget.label}: more than {_MAX_EVENTS} events of one range")
        if span.get("type") in ("ECOSYSTEM", "SEMVER"):
            try:
                inside, later = _in_range(span.get("events") or (), subject.version, compare)
            except ValueError:  # a bound that is no version: better one too many than too few
                inside, later = True, []
            hit = hit or inside
            fixes += later
    fixes.sort(key=cmp_to_key(compare))
    return hit, fixes[0] if fixes else ""


def _in_range(
    events: Sequence[Mapping[str, str]], version: str, compare: Compare
) -> tuple[bool, list[str]]:
    def order(first: str, second: str) -> int:
        if "0" in (first, second):  # the schema's name for "before everything"
            return (first != "0") - (second != "0")
        return compare(first, second)

    pairs = [(str(event[kind]), kind) for event in events for kind in _BOUNDS if kind in event]
    position = cmp_to_key(order)
    pairs.sort(key=lambda pair: position(pair[0]))
    inside = False
    fixes = []
    for bound, kind in pairs:
        difference = order(version, bound)
        if kind == "introduced":
            inside = inside or difference >= 0
        elif kind == "last_affected":
            inside = inside and difference <= 0
        else:
            inside = inside and difference < 0
        if kind == "fixed" and difference < 0:
            fixes.append(bound)
    return inside, fixes


def _vulnerability(
    record: JsonObject, affected: JsonObject, subject: Subject, fixed: str
) -> Vulnerability:
    aliases = [*(record.get("aliases") or ()), *(record.get("upstream") or ())]
    name, cves = identify(str(record["id"]), [str(alias) for alias in aliases])
    specific = affected.get("ecosystem_specific") or {}
    general = record.get("database_specific") or {}
    urgency = specific.get("urgency") or specific.get("severity") or general.get("severity") or ""
    summary = str(record.get("summary") or record.get("details") or "")
    return Vulnerability(
        id=name,
        subject=subject,
        cves=cves,
        fixed=fixed,
        urgency=str(urgency).lower() if isinstance(urgency, str) else "",
        summary=summary,
    )
