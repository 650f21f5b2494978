"""A fleet in TOML: `[defaults]` in the form of settings, and a `[[gateway]]` for each."""

from __future__ import annotations

import re
from pathlib import Path

from edgeimg.errors import ProvisionError
from edgeimg.fleet.rows import Defaults, Row, Rows, anchored
from edgeimg.text import toml_text, validation
from edgeimg.text.toml_text import Kind, Location, Place

_KIND = Kind(name="fleet file", error=ProvisionError, hint="see `edgeimg fleet --help`")
_HEADER = re.compile(r"^\s*\[\[\s*gateway\s*\]\]")
_KNOWN = ("defaults", "gateway")


def read(path: Path) -> Rows:
    """The rows of a fleet file. Raises ProvisionError when it cannot be read or is not TOML."""
    text = toml_text.read_text(path, _KIND)
    data, lines = toml_text.read(path, _KIND)
    problems = [
        f"{path}:{lines.get((key,), 1)}: {key}: unknown key" + validation.near(key, list(_KNOWN))
        for key in data
        if key not in _KNOWN
    ]
    own, defaults = data.get("gateway", []), data.get("defaults", {})
    if not isinstance(own, list) or not all(isinstance(row, dict) for row in own):
        problems.append(f"{path}:{lines['gateway',]}: gateway: expected [[gateway]], one for each")
        own = []
    if not isinstance(defaults, dict):
        problems.append(f"{path}:{lines['defaults',]}: defaults: expected a table, [defaults]")
        defaults = {}
    all_lines = text.splitlines()
    starts = [number for number, line in enumerate(all_lines, 1) if _HEADER.match(line)]
    starts += [lines.get(("gateway",), 1)] * (len(own) - len(starts))  # written inline
    return Rows(
        rows=tuple(
            _row(path, row, all_lines, start, end)
            for row, start, end in zip(own, starts, [*starts[1:], 1 << 30], strict=False)
        ),
        defaults=Defaults(
            data=anchored(defaults, path.parent),
            places=_places(path, lines, "defaults"),
        ),
        problems=tuple(problems),
    )


def defaults(path: Path) -> Defaults:
    """Defaults from a file of settings. Raises ProvisionError."""
    data, lines = toml_text.read(path, _KIND)
    places = {location: Place(path=path, line=line) for location, line in lines.items()}
    return Defaults(data=anchored(data, path.parent), places=places)


def _row(path: Path, data: dict[str, object], text: list[str], start: int, end: int) -> Row:
    """A row; `start` and `end` are lines: keys of other rows have the same names."""
    part = "\n".join(text[start - 1 : end - 1])
    lines = {key: start - 1 + line for key, line in toml_text.key_lines(part).items()}
    return Row(
        data=anchored(data, path.parent),
        places=_places(path, lines, "gateway"),
        start=Place(path=path, line=start),
    )


def _places(path: Path, lines: dict[Location, int], table: str) -> dict[Location, Place]:
    """The keys of a table; those of the first in a list of tables count as its own."""
    places: dict[Location, Place] = {}
    for location, line in lines.items():
        inner = location[2:] if location[1:2] == (0,) else location[1:]
        if location[0] == table and inner:
            places.setdefault(inner, Place(path=path, line=line))
    return places
