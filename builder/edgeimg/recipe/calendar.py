"""Calendar expressions of systemd.time(7), as the timers of a gateway read them.

Stricter than systemd in what nobody writes: no `@` seconds, and no zone other than UTC. Without it,
the zone is the gateway's own. Whatever is accepted here, `systemd-analyze calendar` accepts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHORTHANDS = (
    *("minutely", "hourly", "daily", "weekly", "monthly", "quarterly"),
    *("semiannually", "semi-annually", "yearly", "annually"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DATE = re.compile(r"(?:([^-~]+)-)?([^-~]+)[-~]([^-~]+)")
_ITEM = re.compile(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:/([0-9]{1,4}))?")


def check(text: str) -> str:
    """Return `text`, a calendar expression. Raises ValueError with what is wrong in it."""
    words = text.split(" ")
    if words[-1] == "UTC":
        words.pop()
    if not words or "" in words:
        raise ValueError(f"{text!r} is no calendar expression: words are separated by one blank")
    if len(words) == 1 and words[0].lower() in _SHORTHANDS:
        return text
    if words[0][0].isalpha():
        _weekdays(words.pop(0))
    if words and ":" not in words[0]:
        _date(words.pop(0))
    if words and ":" in words[0]:
        _time(words.pop(0))
    if words:
        raise ValueError(
            f"{words[0]!r} is not expected there: an expression is weekdays, date, time, UTC, "
            "as in 'Sun 03:00' or 'Mon..Fri *-*-* 02:30 UTC' (systemd.time(7))"
        )
    return text


def _weekdays(word: str) -> None:
    for item in word.split(","):
        names = item.split("..")
        places = [_weekday(name) for name in names]
        if len(places) > 2 or places != sorted(places):
            raise ValueError(f"{item!r} is no range of weekdays: they go from Monday to Sunday")


def _weekday(name: str) -> int:
    for place, day in enumerate(_DAYS):
        if name.lower() in (day, day[:3]):
            return place
    raise ValueError(f"{name!r} is no weekday and no word such as 'daily'")


def _date(word: str) -> None:
    match = _DATE.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no date: write it as in '*-*-01' or '2027-01-31'")
    year, month, day = match.groups()
    if year is not None:
        _component(year, "year", range(1970, 2200))
    _component(month, "month", range(1, 13))
    # Days after `~` are counted from the end of the month, which is 28 days long at least.
    if "~" in word and not day.isdigit():
        raise ValueError(f"{day!r} is no day: from the end of the month, it is one number")
    _component(day, "day", range(1, 29 if "~" in word else 32))


def _time(word: str) -> None:
    parts = word.split(":")
    if len(parts) > 3:
        raise ValueError(f"{word!r} is no time: write it as in '03:00' or '03:00:30'")
    for part, name, end in zip(parts, ("hour", "minute", "second"), (24, 60, 60), strict=False):
        _component(part, name, range(end))


def _component(text: str, name: str, values: Sequence[int]) -> None:
    if text == "*":
        return
    before = -1
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no {name}: write '*', a number, '1..5' or '0/15'")
        first = int(match[1])
        last = int(match[2] or first)
        step = int(match[3] or 1)
        if first not in values or last not in values:
            raise ValueError(f"{item!r} is no {name}: expected {values[0]} to {values[-1]}")
        if last < first or first <= before:
            raise ValueError(f"{text!r} is no list of {name}s: they have to rise")
        before = last
        if match[3] and (step == 0 or first + step > values[-1]):
            raise ValueError(f"{item!r} is no {name}: its step is out of range")
