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
_TIME = r"[+-]?\d{1,3}(?::\d{2}){0,2}"
_DATE = rf",(?:M\d{{1,2}}\.[1-5]\.[0-6]|J?\d{{1,3}})(?:/{_TIME})?"
_RULE = re.compile(rf"{_NAME}{_TIME}(?:{_NAME}(?:{_TIME})?{_DATE}{_DATE})?")


def is_rule(text: str) -> bool:
    """Whether a text is a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`."""
    return _RULE.fullmatch(text) is not None


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
