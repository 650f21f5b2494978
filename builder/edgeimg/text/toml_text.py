"""Reads TOML files of people: reports errors by line, and finds the line of each key."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgeimg.errors import EdgeimgError
from edgeimg.text import bounded

MAX_BYTES = 1 << 20
DEPTH = 8
"""No message names tables that are nested deeper."""
_TABLE = re.compile(r"^\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*(?P<name>[\w\"'.+ /:@*-]+?)\s*=")
_PARTS = 64
"""Of a dotted key: tomllib takes the square of their number."""
_PART_OF_KEY = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DEEP = re.compile(
    rf"(?:^[ \t]*\[{{0,2}}|[{{,])[ \t]*{_PART_OF_KEY}(?:[ \t]*\.[ \t]*{_PART_OF_KEY}){{{_PARTS}}}",
    re.MULTILINE,
)
_SYNTAX = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_PART = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^.]*)\s*(?:\.|$)")

Location = tuple[int | str, ...]
_Where = TypeVar("_Where")


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The kind of file, for messages."""

    name: str
    error: type[EdgeimgError]
    hint: str
    """The hint when there is no such file."""


def closest(places: Mapping[Location, _Where], location: Location, default: _Where) -> _Where:
    """Where a key is, or the closest table around it."""
    around = (location[:depth] for depth in range(len(location), 0, -1))
    return next((places[place] for place in around if place in places), default)


def read(path: Path, kind: Kind) -> tuple[dict[str, object], dict[Location, int]]:
    """The tables of a TOML file, and the line of each key.

    Raises the error of its kind for what cannot be read or is not TOML.
    """
    text = read_text(path, kind)
    try:
        return parse(text), key_lines(text)
    except ValueError as error:
        raise kind.error(f"{path}:{error}") from None


def parse(text: str) -> dict[str, object]:
    """The tables of a TOML text. Raises ValueError, `LINE: not TOML: …`, for what is not TOML."""
    if deep := _DEEP.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        raise ValueError(f"{line}: not TOML as it is read here: a key of more than {_PARTS} parts")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: an integer of 4300 digits
        raise ValueError(_syntax_error(error, text)) from None


def read_text(path: Path, kind: Kind) -> str:
    """A text file of reasonable size. Raises the error of its kind."""
    try:
        with bounded.opened(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise kind.error(
            f"cannot read the {kind.name} {path}: {error.strerror}", hint=kind.hint
        ) from None
    if len(raw) > MAX_BYTES:
        raise kind.error(f"{path} is larger than {MAX_BYTES >> 20} MiB: not a {kind.name}")
    try:
        return decode(raw)
    except ValueError as error:
        raise kind.error(f"{path}:{error}") from None


_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh")
"""How files of gzip, zstd, xz and bzip2 begin."""


def decode(raw: bytes) -> str:
    """UTF-8 as text, without a byte order mark.

    Raises ValueError, `LINE: not UTF-8 text…`, for what is not UTF-8.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("1: UTF-16 text, expected UTF-8: save it as UTF-8")
    if raw.startswith(_PACKED):
        raise ValueError("1: a compressed file, expected text: unpack it first")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(f"{line}: not UTF-8 text, which is expected here") from None


def key_lines(text: str) -> dict[Location, int]:
    """The line of every table and key of a TOML text, counted from 1.

    Good enough for messages: a line inside a multi-line string may be taken for a key, which
    never hides a real one because the first line of a key wins.
    """
    lines: dict[Location, int] = {}
    table: Location = ()
    counts: dict[Location, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _split(match["name"])
            location = table
            if line.lstrip().startswith("[["):
                lines.setdefault(table, number)
                counts[table] = counts.get(table, -1) + 1
                table = location = (*table, counts[table])
        elif match := _KEY.match(line):
            location = (*table, *_split(match["name"]))
        else:
            continue
        for depth in range(1, min(len(location), DEPTH) + 1):
            lines.setdefault(location[:depth], number)
    return lines


def _syntax_error(error: Exception, text: str) -> str:
    if not isinstance(error, tomllib.TOMLDecodeError):
        deep = isinstance(error, RecursionError)
        return f"1: not TOML: {'nested too deeply' if deep else 'a number of unreasonable size'}"
    match = _SYNTAX.match(str(error))
    if match is None:
        return f"1: not TOML: {error}"
    line = match["line"] or str(max(1, text.count("\n")))
    return f"{line}: not TOML: {match['what']}"


def _split(name: str) -> Location:
    """The parts of a dotted key; quoted ones may have dots (TOML 1.0, "Keys")."""
    return tuple(part.strip().strip("\"'") for part in _PART.findall(name.strip()) if part.strip())
