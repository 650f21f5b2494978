"""Time zones as rules (POSIX TZ): the gateway has no database of zones, and needs none.

The package tzdata has IANA's database, the same on every host. A file of it (RFC 9636) ends in
the rule that holds from its last transition on.
"""

from __future__ import annotations

import functools
import importlib.resources
import re

# std offset [dst [offset] , start , end], the form `Mm.w.d` of dates alone (tzset(3)).
_NAME = r"(?:[A-Za-z]{3,6}|<[A-Za-z0-9+-]{3,6}>)"
_OFFSET = r"[+-]?(?:[01]?[0-9]|2[0-4])(?::[0-5][0-9]){0,2}"
_TIME = r"[+-]?(?:[0-9]?[0-9]|1[0-6][0-9])(?::[0-5][0-9]){0,2}"
_DAY = r"36[0-5]|3[0-5][0-9]|[12]?[0-9]?[0-9]"
_DATE = rf",(?:M(?:1[0-2]|0?[1-9])\.[1-5]\.[0-6]|J?(?:{_DAY}))(?:/{_TIME})?"
_RULE = re.compile(rf"{_NAME}{_OFFSET}(?:{_NAME}(?:{_OFFSET})?{_DATE}{_DATE})?")
_MISTAKEN = re.compile(r"(?:UTC|GMT)([+-])(\d{1,2})")


def is_rule(text: str) -> bool:
    """Whether a text is a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`."""
    return _RULE.fullmatch(text) is not None


def mistaken(text: str) -> str | None:
    """The zone that `UTC+1` means, which as a rule is an hour west of Greenwich; None for others.

    `Etc/GMT-1` is the name of the zone that is an hour ahead of UTC.
    """
    match = _MISTAKEN.fullmatch(text)
    if match is None or text in names():
        return None
    return f"Etc/GMT{'-' if match[1] == '+' else '+'}{int(match[2])}"


@functools.cache
def names() -> frozenset[str]:
    """The names of all zones, such as `Europe/Berlin`."""
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text()
    return frozenset(listed.split())


def rule(zone: str) -> str:
    """The rule of a zone, by its name; a rule is its own."""
    if zone not in names():
        return zone
    stored = importlib.resources.files("tzdata").joinpath("zoneinfo", *zone.split("/"))
    return stored.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode()
