"""From tables of another format to settings: what is taken, what is not, and where it was said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeimg.text.toml_text import Location, Place, closest

_Kind = TypeVar("_Kind")


@dataclass(kw_only=True)
class Translation:
    """Settings that grow while files of another format are read."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Location, Place] = field(default_factory=dict)
    """Where each key of `data` comes from."""
    problems: list[tuple[Place, str]] = field(default_factory=list)

    def put(self, location: Location, value: object, place: Place) -> None:
        """Set a key of the settings; tables on the way to it are made."""
        here: Any = self.data
        for depth, part in enumerate(location[:-1], 1):
            self.places.setdefault(location[:depth], place)
            here = here.setdefault(part, {})
        here[location[-1]] = value
        self.places[location] = place

    def place(self, location: Location, default: Place) -> Place:
        """Where a key of the settings, or the closest table around it, comes from."""
        return closest(self.places, location, default)


@dataclass(kw_only=True)
class Table:
    """A table of a file of another format. What nobody takes out of it is a problem."""

    told: Translation
    path: Path
    data: dict[str, object]
    lines: dict[Location, int]
    at: Location = ()

    def place(self, key: int | str | None = None) -> Place:
        """The line of a key, or of the table."""
        location = self.at if key is None else (*self.at, key)
        return Place(path=self.path, line=self.lines.get(location, self.lines.get(self.at, 1)))

    def problem(self, key: int | str | None, what: str) -> None:
        """Remember what is wrong with a key, or the table."""
        place = self.place(key)
        location = self.at if key is None else (*self.at, key)
        name = ".".join(map(str, location)) or "(top level)"
        self.told.problems.append((place, f"{place}: {name}: {what}"))

    def take(
        self, key: str, kind: type[_Kind] | tuple[type[_Kind], ...], what: str
    ) -> _Kind | None:
        """Take a key out; None when it is not there or is not what was expected."""
        value = self.data.pop(key, None)
        if value is None:
            return None
        if isinstance(value, kind) and (_has_bool(kind) or not isinstance(value, bool)):
            return value
        self.problem(key, f"expected {what}")
        return None

    def texts(self, key: str) -> list[str]:
        """Take a list of texts out, or one text."""
        value = self.take(key, (str, list), "a list of texts")
        items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if not all(isinstance(item, str) for item in items):
            self.problem(key, "expected a list of texts")
            return []
        return list(items)

    def table(self, key: str) -> Table | None:
        """Take a table out."""
        value = self.take(key, dict, "a table of keys and values")
        return None if value is None else self._inner(key, value)

    def tables(self, key: str) -> Iterator[Table]:
        """Take a list of tables out."""
        for number, value in enumerate(self.take(key, list, "a list") or []):
            inner = self._inner(key, value if isinstance(value, dict) else {})
            inner.at = (*inner.at, number)
            if not isinstance(value, dict):
                inner.problem(None, "expected keys and values")
                continue
            yield inner

    def entries(self) -> Iterator[tuple[str, Table]]:
        """Take all tables out that are in this one."""
        for key in list(self.data):
            inner = self.table(key)
            if inner is not None:
                yield key, inner

    def end(self, known: str) -> None:
        """What is left was not understood: each key is a problem. `known` says what would be."""
        for key in self.data:
            self.problem(key, f"is not supported; supported here: {known}")

    def _inner(self, key: str, value: dict[str, object]) -> Table:
        return Table(
            told=self.told, path=self.path, data=value, lines=self.lines, at=(*self.at, key)
        )


def _has_bool(kind: type | tuple[type, ...]) -> bool:
    return bool in (kind if isinstance(kind, tuple) else (kind,))
