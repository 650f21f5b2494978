"""A fleet as CSV (RFC 4180), as spreadsheets write it: a line of column names, a line a gateway.

Columns are keys of the settings with dots (`network.lan.addresses`), and those of a fleet. Several
values in one cell are separated by commas; an empty cell says nothing. Lines that begin with `#`
are skipped, and so is the first line `sep=;`. `;` and tabs between the cells are understood, and
UTF-8 and UTF-16 with a byte order mark.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeimg.errors import ProvisionError
from edgeimg.fleet import columns
from edgeimg.fleet.columns import Column
from edgeimg.fleet.rows import Row, Rows, anchored, with_value
from edgeimg.text import bounded
from edgeimg.text.toml_text import Location, Place

_MAX_BYTES = 8 << 20
_SEPARATOR = re.compile(r"sep=([,;|\t]|\\t|)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d{1,3}([.,]\d+)?E[+-]\d+", re.IGNORECASE)
"""As spreadsheets write it: up to three digits in front, and a sign in the exponent."""
_WHOLE = re.compile(r"\d+[.,]0+")
"""As programs write a number that they took for a fraction."""
_ERROR = re.compile(r"#¡?[\w/]{2,}[!?]|#N/[AD].*|#NV|Err:\d+")
_NARROW = re.compile("#{3,}")
"""What spreadsheets show in place of a value."""
_NOTHING = ("n/a", "null", "nan", "-", "--", "\u2013", "\u2014")
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
"""Characters that come along when values are copied from web pages and dialogs."""
_YES = ("true", "yes", "on", "y", "wahr", "ja", "1", "vrai", "oui", "si", "s\u00ed", "x")
_NO = ("false", "no", "off", "n", "falsch", "nein", "0", "faux", "non")
_HINT = "in a spreadsheet, save it as 'CSV UTF-8'"


def read(path: Path) -> Rows:
    """The rows of a fleet file. Raises ProvisionError when it cannot be read or is no CSV."""
    lines = _Lines(_text(path))
    records = list(_records(path, lines))
    if not records:
        raise ProvisionError(f"{path}: there is no line of column names", hint=_HINT)
    (start, names), rows = records[0], records[1:]
    while not names[-1]:  # spreadsheets write as many cells as their widest line ever had
        names.pop()
    if not any(columns.knows(name) for name in names):
        raise ProvisionError(
            f"{path}:{start}: expected the names of the columns in this line, such as 'hostname', "
            f"found {', '.join(names)[:60]!r}",
            hint="lines above it begin with '#', or are removed",
        )
    found, problems = _header(path, start, names)
    parsed = []
    for line, cells in rows:
        if len(cells) > len(names) and any(cells[len(names) :]):
            problems.append(
                f"{path}:{line}: has {len(cells)} cells, and there are {len(names)} columns"
            )
            continue
        if wrong := _cells(path, line, names, found, cells):
            problems += wrong
            continue
        parsed.append(_row(path, line, found, cells))
    return Rows(rows=tuple(parsed), problems=tuple(problems))


class _Lines:
    """Lines for csv.reader, without comments and empty ones between the records."""

    def __init__(self, text: str) -> None:
        self._lines = list(io.StringIO(text, newline=""))
        self._told = None
        if self._lines and (match := _SEPARATOR.fullmatch(self._lines[0].strip().strip('"'))):
            self._told = match[1].replace("\\t", "\t") or "\t"
            self._lines[0] = "\n"
        self.number = 0
        self.first = 0
        """Where the current record begins; 0 before it is known."""

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            self.number = number
            if not self.first:
                if line.lstrip().startswith("#") or not line.strip():
                    continue
                self.first = self.number
            yield line

    def separator(self) -> str:
        """Between the cells: what the line of names has most of; no name has any of them."""
        if self._told:
            return self._told
        head = next((line for line in self._lines if line.strip() and line.lstrip()[0] != "#"), "")
        return max((",", ";", "\t", "|"), key=head.count)


def _records(path: Path, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=lines.separator(), strict=True)
    while True:
        lines.first = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = f"no CSV: {error}"
            if "end of data" in str(error):
                what = "no CSV: a quotation mark of this row has no end"
            place = f"{path}:{lines.first or lines.number}"
            raise ProvisionError(f"{place}: {what}", hint=_HINT) from None
        cells = [cell.strip().strip(_INVISIBLE).strip() for cell in cells]
        if any(cells):
            yield lines.first, cells


def _header(path: Path, line: int, names: Sequence[str]) -> tuple[list[Column | None], list[str]]:
    """The columns; None for those that are not understood, which are problems."""
    found: list[Column | None] = []
    problems = []
    for number, name in enumerate(names, 1):
        column = columns.resolve(name) if name else None
        if isinstance(column, str):
            problems.append(f"{path}:{line}: {name}: {column}")
        elif column is not None and column in found:
            problems.append(f"{path}:{line}: {name}: this column is there twice")
        found.append(column if isinstance(column, Column) else None)
        if not name:
            problems.append(f"{path}:{line}: column {number} has no name")
    return found, problems


def _cells(
    path: Path,
    line: int,
    names: Sequence[str],
    found: Sequence[Column | None],
    cells: Sequence[str],
) -> list[str]:
    """What a spreadsheet has made of the cells of a row, by the name of the column."""
    problems = []
    for name, column, cell in zip(names, found, cells, strict=False):
        why = ""
        if _NUMBER.fullmatch(cell):
            why = "the spreadsheet made a number of it: format the column as text"
        elif column and column.location[-1] in _SERIALS and _WHOLE.fullmatch(cell):
            why = "a program made a number of it: read the column as text"
        elif _ERROR.fullmatch(cell):
            why = "an error of the spreadsheet: put its formula right"
        elif _NARROW.fullmatch(cell):
            why = "the column was too narrow for its value: make it wider and save it again"
        elif column and cell.lower() in _NOTHING:
            why = "expected an empty cell where there is no value"
        elif any(char in _INVISIBLE for char in cell):
            odd = next(char for char in cell if char in _INVISIBLE)
            why = f"has the invisible character U+{ord(odd):04X} in it: type the value again"
        elif cell.startswith("=") or (cell[:1] in "'\u2019" and cell and column):
            why = "expected the value alone: format the column as text, without '=' and apostrophe"
        elif column and column.many and (";" in cell or "\n" in cell.strip()):
            why = "expected ',' between several values"
            if all(part.strip(" ,") for part in cell.split("\n")) and ";" not in cell:
                why = "" if _separated(cell) else why
        elif column and column.truth and cell and cell.lower() not in (*_YES, *_NO, *column.words):
            why = "expected true or false" + "".join(f", or '{word}'" for word in column.words)
        if why:
            problems.append(f"{path}:{line}: {name}: {why}, found {cell[:40]!r}")
    return problems


_SERIALS = ("serial", "disk_serial")


def _separated(cell: str) -> bool:
    """Whether all lines of a cell but the last end in a comma."""
    return all(part.rstrip().endswith(",") for part in cell.splitlines()[:-1])


def _value(column: Column, cell: str) -> object:
    if column.many:
        return [part.strip() for part in cell.split(",")]
    if column.truth and cell.lower() not in column.words:
        return cell.lower() in _YES
    return cell


def _row(path: Path, line: int, found: Sequence[Column | None], cells: Sequence[str]) -> Row:
    data: dict[str, object] = {}
    places: dict[Location, Place] = {}
    start = Place(path=path, line=line)
    for column, cell in zip(found, cells, strict=False):
        if column is None or not cell:
            continue
        data = with_value(data, column.location, _value(column, cell))
        for depth in range(1, len(column.location) + 1):
            places[column.location[:depth]] = start
    return Row(data=anchored(data, path.parent), places=places, start=start)


def _text(path: Path) -> str:
    try:
        with bounded.opened(path) as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ProvisionError(f"cannot read the fleet file {path}: {error.strerror}") from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and len(raw) <= _MAX_BYTES:
        try:  # Excel's "Unicode text"
            raw = raw.decode("utf-16").encode()
        except UnicodeDecodeError:
            raise ProvisionError(f"{path}:1: UTF-16 text that is damaged", hint=_HINT) from None
    if raw.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise ProvisionError(f"{path} is the file of a spreadsheet, no CSV", hint=_HINT)
    if len(raw) > _MAX_BYTES or b"\0" in raw:
        raise ProvisionError(f"{path} is no CSV of a fleet", hint=_HINT)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ProvisionError(f"{path}:{line}: not UTF-8 text", hint=_HINT) from None
