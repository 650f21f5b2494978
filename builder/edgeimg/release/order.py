"""The order of versions, as systemd compares them.

https://uapi-group.org/specifications/specs/version_format_specification/
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeimg.errors import ReleaseError

_SIGNS = "-^."
_VALID = "A-Za-z0-9~^.-"


def is_older(version: str, other: str) -> bool:
    """Whether `version` comes before `other`."""
    return _compare(version, other) < 0


def require(version: str, released: Iterable[str]) -> None:
    """Raises ReleaseError when a version is older than one that was released before."""
    if newer := next((other for other in released if is_older(version, other)), None):
        raise ReleaseError(
            f"version {version} is older than {newer}, which has been released: gateways that run "
            "that one do not update to it",
            hint="raise [image] version; releases of an older line need a directory of their own",
        )


def _compare(one: str, two: str) -> int:
    one, two = (re.sub(f"[^{_VALID}]", "", text) for text in (one, two))
    while True:
        if "~" in (one[:1], two[:1]):
            if one[:1] != two[:1]:
                return -1 if one[:1] == "~" else 1
            one, two = one[1:], two[1:]
        if not one or not two:
            return bool(one) - bool(two)
        for sign in _SIGNS:
            if sign in (one[:1], two[:1]):
                if one[:1] != two[:1]:
                    return -1 if one[:1] == sign else 1
                one, two = one[1:], two[1:]
        numeric = one[:1].isdigit() or two[:1].isdigit()
        form = "[0-9]*" if numeric else "[A-Za-z]*"
        first, second = (re.match(form, text) for text in (one, two))
        if first is None or second is None:
            return 0
        one, two = one[first.end() :], two[second.end() :]
        if found := _segment(first[0], second[0], numeric=numeric):
            return found


def _segment(first: str, second: str, *, numeric: bool) -> int:
    if not numeric:
        return (first > second) - (first < second)
    if not first or not second:
        return bool(first) - bool(second)
    return (int(first) > int(second)) - (int(first) < int(second))
