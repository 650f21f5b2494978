"""A recipe and the ones that it includes → one table, and where each key of it was written.

`include` names files relative to the one that names them. They are read in their order, the
including file last: tables are merged, lists appended, the rest replaced by the later one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import RecipeError
from builder.recipe import merge

MAX_BYTES = 1 << 20
KEY = "include"
_DEPTH = 8
"""Files do not include each other deeper; and no message names tables that are nested deeper."""
_TABLE = re.compile(r"^\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*(?P<name>[\w\"'.+ /:@-]+?)\s*=")
_SYNTAX = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_PART = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^.]*)\s*(?:\.|$)")

Location = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Document:
    """The merged tables of a recipe."""

    data: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    """All that was read, in the order of reading."""
    places: Mapping[Location, Place] = field(default_factory=dict)

    def place(self, location: Location) -> Place:
        """Where a key was written, or the closest table around it."""
        for depth in range(min(len(location), _DEPTH), 0, -1):
            if location[:depth] in self.places:
                return self.places[location[:depth]]
        return Place(path=self.files[-1], line=1)


def read(path: Path, around: tuple[Path, ...] = ()) -> Document:
    """Read a recipe with everything that it includes; `around` are the files that led here.

    Raises RecipeError for what cannot be read or is not TOML, and for files that include
    themselves.
    """
    text = _text(path)
    try:
        own = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: an integer of 4300 digits
        raise RecipeError(f"{path}:{_syntax_error(error, text)}") from None
    lines = key_lines(text)
    whole = Document()
    for name in _included(path, own, lines):
        other = path.parent / name
        chain = (*around, path)
        if other.resolve() in {known.resolve() for known in chain} or len(chain) > _DEPTH:
            raise RecipeError(f"{path}:{lines[KEY,]}: {KEY}: {name} includes itself")
        whole = _over(whole, read(other, chain))
    places = {location: Place(path=path, line=line) for location, line in lines.items()}
    return _over(whole, Document(data=own, files=(path,), places=places))


def key_lines(text: str) -> dict[Location, int]:
    """The line of every table and key of a TOML text, counted from 1.

    Good enough for messages: a line inside a multi-line string may be taken for a key, which
    never hides a real one because the first line of a key wins.
    """
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _split(match["name"])
            here = table
        elif match := _KEY.match(line):
            here = (*table, *_split(match["name"]))
        else:
            continue
        for depth in range(1, min(len(here), _DEPTH) + 1):
            lines.setdefault(here[:depth], number)
    return lines


def _included(path: Path, data: dict[str, Any], lines: Mapping[Location, int]) -> list[str]:
    names = data.pop(KEY, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise RecipeError(
            f"{path}:{lines.get((KEY,), 1)}: {KEY}: expected a list of recipes, such as "
            f'["gateway.toml"], found {names!r}'
        )
    return names


def _over(base: Document, top: Document) -> Document:
    places = {**base.places, **top.places, **_appended(base.data, top.data, top)}
    return Document(data=merge(base.data, top.data), files=(*base.files, *top.files), places=places)


def _appended(
    base: dict[str, Any], top: dict[str, Any], document: Document, above: Location = ()
) -> dict[Location, Place]:
    """Where the items of lists that both have were written, by their place in the merged list."""
    places: dict[Location, Place] = {}
    for key, mine in base.items():
        location, theirs = (*above, key), top.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            places |= _appended(mine, theirs, document, location)
        elif isinstance(mine, list) and isinstance(theirs, list):
            written = document.place(location)
            places |= {(*location, len(mine) + at): written for at in range(len(theirs))}
    return places


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read the recipe {path}: {error.strerror}",
            hint="`edgeimg init` writes a commented one to start from",
        ) from None
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"{path} is larger than {MAX_BYTES >> 20} MiB: not a recipe")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text, which TOML asks for") from None


def _syntax_error(error: Exception, text: str) -> str:
    match = _SYNTAX.match(str(error))
    if match is None:
        return f"1: not TOML: {error or 'nested too deeply'}"
    line = match["line"] or str(max(1, text.count("\n")))
    return f"{line}: not TOML: {match['what']}"


def _split(name: str) -> Location:
    """The parts of a dotted key; quoted ones may have dots (TOML 1.0, "Keys")."""
    return tuple(part.strip().strip("\"'") for part in _PART.findall(name.strip()) if part.strip())
