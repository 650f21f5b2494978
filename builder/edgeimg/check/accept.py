"""Exceptions: intended findings, by rule and place.

Those of every image are in accepted.toml, each with its reason; a recipe names its own in
`[check] accept`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeimg.check.findings import Finding, finding
from edgeimg.recipe.rules import RULES
from edgeimg.text import typed

KEY = "check.accept"


@dataclass(frozen=True)
class _Group:
    findings: tuple[str, ...]


def defaults() -> tuple[str, ...]:
    """The exceptions that hold for every image."""
    groups = typed.data_file(__file__, "accepted", dict[str, tuple[_Group, ...]])
    return tuple(entry for group in groups["accepted"] for entry in group.findings)


def covers(entry: str, finding: Finding) -> bool:
    """Whether an exception `RULE:PLACE` covers this finding.

    The place is a glob over the finding's path, its item, or `path#item`.
    """
    rule, _, place = entry.partition(":")
    names = (finding.path, finding.item, finding.place)
    return (
        rule == finding.rule
        and RULES[rule].acceptable
        and any(name and (name == place or fnmatch.fnmatchcase(name, place)) for name in names)
    )


def remaining(findings: Iterable[Finding], accepted: Sequence[str]) -> list[Finding]:
    """The findings without an exception; `accepted` are the recipe's exceptions."""
    entries = [*defaults(), *accepted]
    return [item for item in findings if not any(covers(entry, item) for entry in entries)]


def unused(findings: Iterable[Finding], accepted: Sequence[str]) -> list[Finding]:
    """Exceptions of the recipe that cover none of `findings`."""
    all_ = list(findings)
    return [
        finding("unused-accept", KEY, f"{entry!r} accepts nothing", "take it out", item=entry)
        for entry in accepted
        if not any(covers(entry, item) for item in all_)
    ]
