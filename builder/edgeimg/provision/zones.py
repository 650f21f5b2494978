"""Time zones as rules (POSIX TZ): the gateway has no database of zones, and needs none.

The package tzdata has IANA's database, the same on every host. A file of it (RFC 9636) ends in
the rule that holds from its last transition on.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import io
import re
import struct
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

# std offset [dst [offset] , start , end], the form `Mm.w.d` of dates alone (tzset(3)).
_NAME = r"(?:[A-Za-z]{3,6}|<[A-Za-z0-9+-]{3,6}>)"
_OFFSET = r"[+-]?(?:[01]?[0-9]|2[0-4])(?::[0-5][0-9]){0,2}"
_TIME = r"[+-]?(?:[0-9]?[0-9]|1[0-6][0-9])(?::[0-5][0-9]){0,2}"
_DAY = r"36[0-5]|3[0-5][0-9]|[12]?[0-9]?[0-9]"
_DATE = rf",(?:M(?:1[0-2]|0?[1-9])\.[1-5]\.[0-6]|J?(?:{_DAY}))(?:/{_TIME})?"
_RULE = re.compile(rf"{_NAME}{_OFFSET}(?:{_NAME}(?:{_OFFSET})?{_DATE}{_DATE})?")
_MISTAKEN = re.compile(r"(?:UTC|GMT|UT)? ?([+-])(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)


def is_rule(text: str) -> bool:
    """Whether a text is a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`."""
    return _RULE.fullmatch(text) is not None


def mistaken(text: str) -> str | None:
    """The zone that `UTC+1` means, which as a rule is an hour west of Greenwich; None for others.

    `Etc/GMT-1` is the name of the zone that is an hour ahead of UTC; parts of an hour are a rule.
    """
    match = _MISTAKEN.fullmatch(text)
    if match is None or text in names():
        return None
    hours, minutes, back = int(match[2]), match[3] or "00", "-" if match[1] == "+" else "+"
    zone = f"Etc/GMT{back}{hours}" if hours else "UTC"
    if minutes == "00" and zone in names():
        return zone
    return f"<{match[1]}{hours:02}{minutes}>{back}{hours}:{minutes}"


def close(text: str) -> str | None:
    """The name of the zone, or of its place, that a text is like; None without one.

    A name of a time, such as `CEST`, is like none: only places are compared.
    """
    wanted = text.strip().replace(" ", "_").casefold()
    places = {name.casefold(): name for name in sorted(names()) if "/" in name}
    places |= {folded.rpartition("/")[2]: name for folded, name in places.items()}
    found = difflib.get_close_matches(wanted, places, n=1, cutoff=0.8)
    return places[found[0]] if found else None


@functools.cache
def names() -> frozenset[str]:
    """The names of all zones, such as `Europe/Berlin`."""
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text()
    return frozenset(listed.split())


@functools.cache
def countries() -> frozenset[str]:
    """The two letters of all countries (ISO 3166-1), from the time zone database."""
    listed = importlib.resources.files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text()
    rows = (line.partition("\t")[0] for line in listed.splitlines())
    return frozenset(row for row in rows if len(row) == 2)


def rule(zone: str) -> str:
    """The rule of a zone, by its name; a rule is its own."""
    if zone not in names():
        return zone
    return _stored(zone).rstrip(b"\n").rpartition(b"\n")[2].decode()


@functools.cache
def differs(zone: str, start: datetime) -> datetime | None:
    """The first hour of the year from `start` in which the rule of a zone gives another time.

    The rule of a zone holds after the last transition of its file, which may still be ahead. None
    for zones whose rule is right all year.
    """
    if zone not in names():
        return None
    known = ZoneInfo.from_file(io.BytesIO(_stored(zone)))
    of_rule = ZoneInfo.from_file(io.BytesIO(_file(rule(zone))))
    hours = (start.astimezone(UTC) + timedelta(hours=hour) for hour in range(366 * 24))
    return next(
        (
            hour for hour in hours
            if hour.astimezone(known).utcoffset() != hour.astimezone(of_rule).utcoffset()
        ),
        None,
    )  # fmt: skip


def fixed(zone: str, moment: datetime) -> str:
    """A rule without transitions that gives the time of a zone at `moment`: `<-04>4`."""
    offset = moment.astimezone(ZoneInfo.from_file(io.BytesIO(_stored(zone)))).utcoffset()
    minutes = int((offset or timedelta()).total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    name = f"{'-' if minutes < 0 else '+'}{hours:02}{f'{rest:02}' if rest else ''}"
    # The sign of a rule is that of the way back to UTC.
    return f"<{name}>{'-' if minutes > 0 else ''}{hours}{f':{rest:02}' if rest else ''}"


def _stored(zone: str) -> bytes:
    stored = importlib.resources.files("tzdata").joinpath("zoneinfo", *zone.split("/"))
    return stored.read_bytes()


def _file(text: str) -> bytes:
    """The file that a gateway makes of a rule (RFC 9636): the rule alone, without transitions."""
    header = b"TZif2" + bytes(15) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    kind = bytes(6) + b"UTC\0"
    return header + kind + header + kind + b"\n" + text.encode() + b"\n"
