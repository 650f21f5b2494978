"""From tables of another format to settings: what is taken, what is not, and from which place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeimg.text.toml_text import Location, Place, closest
from edgeimg.text.yaml_text import TRUTH

_Kind = TypeVar("_Kind")
_TRUTH = {**TRUTH, "y": True, "n": False}
"""As netplan reads texts."""


@dataclass(kw_only=True)
class Translation:
    """Settings that grow while files of another format are read."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Location, Place] = field(default_factory=dict)
    """Where each key of `data` comes from."""
    problems: list[tuple[Place, str]] = field(default_factory=list)
    notes: list[tuple[Place, str]] = field(default_factory=list)
    """What is without meaning here, and what was understood otherwise than it is written."""
    taken: list[tuple[Place, str]] = field(default_factory=list)
    """The keys on top of files that were taken out."""

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

    translation: Translation
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
        self.translation.problems.append((place, f"{place}: {self._name(key)}: {what}"))

    def note(self, key: int | str | None, what: str) -> None:
        """Remember what people should know of a key, or the table."""
        place = self.place(key)
        self.translation.notes.append((place, f"{place}: {self._name(key)}: {what}"))

    def _name(self, key: int | str | None) -> str:
        location = self.at if key is None else (*self.at, key)
        return ".".join(map(str, location)) or "(top level)"

    def take(
        self, key: str, kind: type[_Kind] | tuple[type[_Kind], ...], what: str
    ) -> _Kind | None:
        """Take a key out; None when it is not there or is not what was expected.

        Texts where a number or a truth value is expected are read as such: writers of these files
        put quotes where they like.
        """
        value = self.data.pop(key, None)
        if value is None:
            return None
        if isinstance(value, str):
            value = _read(value, kind)
        if not self.at:
            self.translation.taken.append((self.place(key), key))
        if isinstance(value, kind) and (_has_bool(kind) or not isinstance(value, bool)):
            return value
        quotes = ": put it in quotes" if kind is str and isinstance(value, bool | int) else ""
        self.problem(key, f"expected {what}{quotes}")
        return None

    def text(self, key: str, what: str) -> str | None:
        """Take a text out, which may consist of digits."""
        value = self.take(key, (str, int), what)
        return None if value is None else str(value)

    def already(self, key: str, *values: object) -> None:
        """Take a key out that asks for what is so anyway; with another value it stays."""
        value = self.data.get(key)
        value = _read(value, bool) if isinstance(value, str) else value
        if key in self.data and any(value is one or value == one for one in values):
            self.note(key, "has no meaning here: it is so already")
            del self.data[key]

    def words(self, key: str) -> list[str]:
        """Take a list of words out; texts may hold several, with blanks or commas between them."""
        return [word for text in self.texts(key) for word in text.replace(",", " ").split()]

    def without_meaning(self, reasons: Mapping[str, str]) -> None:
        """Take keys out that say nothing to a gateway; each is a note."""
        for key in [key for key in self.data if key in reasons]:
            self.note(key, f"has no meaning here: {reasons[key]}")
            del self.data[key]

    def texts(self, key: str) -> list[str]:
        """Take a list of texts out, or one text."""
        value = self.take(key, (str, list), "a list of texts")
        items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if not all(isinstance(item, str) for item in items):
            odd = any(isinstance(item, dict) for item in items)
            self.problem(key, f"expected a list of texts{', without keys in it' if odd else ''}")
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
            self.data[key] = {} if self.data[key] is None else self.data[key]
            inner = self.table(key)
            if inner is not None:
                yield key, inner

    def end(self, known: str, ways: Mapping[str, str] | None = None) -> None:
        """What is left was not understood: each key is a problem, or a note when it asks nothing.

        `known` says what would be understood, `ways` what to do about single keys.
        """
        for key, value in self.data.items():
            if value in (None, {}, ""):
                self.note(key, "is empty")
                continue
            names = [name.partition(":")[0] for name in known.split(", ")]
            folded = str(key).replace("_", "-").lower()
            close = difflib.get_close_matches(folded, names, n=2, cutoff=0.8)
            meant = f"did you mean '{close[0]}'? " if len(close) == 1 else ""
            way = (ways or {}).get(key, f"{meant}supported here: {known}")
            self.problem(key, f"is not supported; {way}")

    def _inner(self, key: str, value: dict[str, object]) -> Table:
        return Table(
            translation=self.translation,
            path=self.path,
            data=value,
            lines=self.lines,
            at=(*self.at, key),
        )


def _read(text: str, kind: type | tuple[type, ...]) -> object:
    if kind is bool:
        return _TRUTH.get(text.lower(), text)
    return int(text) if kind is int and re.fullmatch(r"\d{1,9}", text) else text


def _has_bool(kind: type | tuple[type, ...]) -> bool:
    return bool in (kind if isinstance(kind, tuple) else (kind,))
