"""A fleet as it was written: one table a gateway, not checked yet, and where each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeimg.text.toml_text import Location, Place, closest


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds for every gateway that says nothing else, in the form of settings."""

    data: Mapping[str, object] = field(default_factory=dict, repr=False)
    places: Mapping[Location, Place] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One gateway."""

    data: Mapping[str, object] = field(repr=False)
    places: Mapping[Location, Place]
    start: Place
    """Where the row begins."""

    def over(self, defaults: Defaults) -> Row:
        """With the defaults below it: tables are merged, everything else is replaced."""
        return Row(
            data=_merged(defaults.data, self.data),
            places={**defaults.places, **self.places},
            start=self.start,
        )

    def place(self, location: Location) -> Place:
        """Where a key was written, or the closest table around it."""
        return closest(self.places, location, self.start)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All of a file, in its order."""

    rows: tuple[Row, ...]
    defaults: Defaults = field(default_factory=Defaults)
    problems: tuple[str, ...] = ()
    """What is wrong with the file before any row is looked at: `file:line: what`."""


def anchored(data: Mapping[str, object], folder: Path) -> dict[str, object]:
    """The same with the paths in it taken from `folder`: keys that end in `_file` or `_files`."""
    return {name: _anchored(value, folder, name) for name, value in data.items()}


def _anchored(data: object, folder: Path, key: str) -> object:
    match data:
        case dict():
            return anchored(data, folder)
        case list() if key.endswith("_files"):
            return [_anchored(item, folder, "_file") for item in data]
        case list():
            return [_anchored(item, folder, "") for item in data]
        case str() if key.endswith("_file") and data:
            return str(folder / data)
    return data


def with_value(
    data: Mapping[str, object], location: tuple[str, ...], value: object
) -> dict[str, object]:
    """A copy of `data` with `value` at `location`; tables on the way are made."""
    first, *rest = location
    if not rest:
        return {**data, first: value}
    inner = data.get(first)
    below = inner if isinstance(inner, dict) else {}
    return {**data, first: with_value(below, tuple(rest), value)}


def value_at(data: object, location: tuple[str, ...]) -> object:
    """What is at `location`, or None."""
    for key in location:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _merged(base: Mapping[str, object], top: Mapping[str, object]) -> dict[str, object]:
    merged: dict[str, object] = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        merged[key] = value
    return merged
