"""Which of two versions is the later one: Debian's rules, and semantic versions as Go uses them.

Debian: deb-version(7). Go: Semantic Versioning 2.0, with Go's own `1.26rc1` for the compiler,
and K3s' habit of numbering its builds of one upstream version (`v1.35.0+k3s2`, `v1.35.0-k3s1`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest

Compare = Callable[[str, str], int]
"""Negative when the first is earlier, positive when it is later. Raises ValueError."""

_SEMVER = re.compile(
    r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?"
    r"(?:-?((?:alpha|beta|rc)\d+)(?=$|[+ -])|-([0-9A-Za-z.-]+?))??"
    r"(?:[+-]k3s(\d+))?(?:\+[0-9A-Za-z.-]+)?(?: .*)?",
    re.ASCII,
)


def debian(first: str, second: str) -> int:
    """Epoch, then upstream version, then revision."""
    (epoch, upstream, revision), theirs = _split(first), _split(second)
    if epoch != theirs[0]:
        return epoch - theirs[0]
    return _debian_part(upstream, theirs[1]) or _debian_part(revision, theirs[2])


def semver(first: str, second: str) -> int:
    """Semantic versions, a leading `v` and build metadata aside.

    A build number of K3s counts when both have one: `-k3s1` is no pre-release of what it is
    built from.
    """
    mine, theirs = _parse(first), _parse(second)
    if mine[:3] != theirs[:3]:
        return -1 if mine[:3] < theirs[:3] else 1
    if mine[3] != theirs[3]:
        return _prerelease(mine[3], theirs[3])
    return mine[4] - theirs[4] if mine[4] and theirs[4] else 0


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, remainder = version.strip().partition(":")
    if not colon:
        epoch, remainder = "0", version.strip()
    if not epoch.isdigit() or not remainder:
        raise ValueError(f"{version!r} is no version of a Debian package")
    upstream, dash, revision = remainder.rpartition("-")
    return (int(epoch), upstream, revision) if dash else (int(epoch), remainder, "")


def _debian_part(first: str, second: str) -> int:
    """Alternate: a part without digits, compared by letters; then a number."""
    pairs = zip_longest(_runs(first), _runs(second), fillvalue=("", 0))
    for (text, number), (their_text, their_number) in pairs:
        if difference := _debian_text(text, their_text):
            return difference
        if number != their_number:
            return number - their_number
    return 0


def _runs(text: str) -> list[tuple[str, int]]:
    return [(head, int(digits or 0)) for head, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def _debian_text(first: str, second: str) -> int:
    """`~` sorts before the end, the end before letters, letters before other characters."""
    for mine, theirs in zip_longest(first, second, fillvalue=""):
        if difference := _rank(mine) - _rank(theirs):
            return difference
    return 0


def _rank(char: str) -> int:
    if char == "~":
        return -1
    if char == "":
        return 0
    return ord(char) if char.isascii() and char.isalpha() else ord(char) + 256


def _parse(version: str) -> tuple[int, int, int, str, int]:
    match = _SEMVER.fullmatch(version.strip())
    if match is None:
        raise ValueError(f"{version!r} is no semantic version")
    major, minor, patch, go, pre, build = match.groups()
    before = re.sub(r"(\d+)$", r".\1", go) if go else pre or ""
    return int(major), int(minor or 0), int(patch or 0), before, int(build or 0)


def _prerelease(first: str, second: str) -> int:
    if not first or not second:
        return 1 if not first else -1
    for mine, theirs in zip_longest(first.split("."), second.split(".")):
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            return -1 if mine is None else 1
        if mine.isdigit() and theirs.isdigit():
            return int(mine) - int(theirs)
        if mine.isdigit() != theirs.isdigit():
            return -1 if mine.isdigit() else 1
        return -1 if mine < theirs else 1
    return 0
