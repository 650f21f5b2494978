"""Vulnerability feeds: a JSON file, a directory or a zip of them, recognised by content."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeimg.cve import osv, tracker
from edgeimg.cve.vulnerability import Index, Vulnerability
from edgeimg.errors import ArchiveError
from edgeimg.streams.limits import UNTRUSTED, Budget
from edgeimg.text import bounded, json_text

_MAX_BYTES = 160 << 20
"""The file of Debian's tracker has some 75 MB."""
_MAX_VALUES = 12_000_000
_LIMITS = replace(UNTRUSTED, seconds=15.0)
_HINT = (
    "give the JSON file of Debian's security tracker, or records in the OSV format: "
    "a file, a directory or a zip"
)


def search(path: Path, index: Index) -> Iterator[Vulnerability]:
    """The vulnerabilities of the subjects in `index` that the feed at `path` has.

    Raises ArchiveError when it is damaged or has an unknown format.
    """
    understood, budget = 0, Budget(label=str(path), limits=_LIMITS)
    for label, content in _documents(path):
        budget.move(len(content) >> 3)
        for document in _parsed(content, label):
            understood += 1
            try:
                yield from _search(document, index, label, budget)
            except (TypeError, AttributeError, LookupError, ValueError) as error:
                raise ArchiveError(
                    f"{label}: malformed: {json_text.reason(error)}", hint=_HINT
                ) from error
    if not understood:
        raise ArchiveError(f"{path} holds no vulnerabilities", hint=_HINT)


def _search(document: Any, index: Index, label: str, budget: Budget) -> Iterator[Vulnerability]:
    if osv.looks_like(document):
        yield from osv.vulnerabilities(document, index, budget)
    elif tracker.looks_like(document):
        yield from tracker.vulnerabilities(document, index, budget)
    else:
        raise ArchiveError(f"{label} is neither Debian's security tracker nor OSV", hint=_HINT)


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                yield str(file), bounded.read(file, _MAX_BYTES)
            return
        bounded.opened(path).close()  # a pipe or a device has no end to look at
        if zipfile.is_zipfile(path):
            yield from _zipped(path)
        else:
            yield str(path), bounded.read(path, _MAX_BYTES)
    except OSError as error:
        raise ArchiveError(f"cannot read {error.filename}: {error.strerror}") from error


def _zipped(path: Path) -> Iterator[tuple[str, bytes]]:
    # Several entries of a zip may be the same bytes of the file.
    total, most = 0, UNTRUSTED.output(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if info.filename.endswith(".json"):
                    total += info.file_size
                    if info.file_size > _MAX_BYTES or total > most:
                        raise ArchiveError(f"{path}: {info.filename} is too large")
                    yield f"{path}: {info.filename}", archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error


def _parsed(content: bytes, label: str) -> list[Any]:
    """The documents in one file: one, a list of them, or the answer of an OSV query."""
    try:
        data = json_text.parse(content, limit=_MAX_BYTES, values=_MAX_VALUES)
    except ValueError as error:
        raise ArchiveError(f"{label} is no JSON feed: {error}", hint=_HINT) from error
    if isinstance(data, dict) and isinstance(data.get("vulns"), list):
        data = data["vulns"]
    return data if isinstance(data, list) else [data]
