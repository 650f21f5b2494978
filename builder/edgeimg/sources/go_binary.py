"""The build information of a Go program, read without running it.

Format: the build information block of debug/buildinfo (Go 1.18 and later, inline strings).
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from typing import BinaryIO

_MAGIC = b"\xff Go buildinf:"
_HEADER = 32
_INLINE = 2
_SENTINEL = 16
_MAX_TEXT = 4 << 20

Bytes = bytes | mmap.mmap


@dataclass(frozen=True, kw_only=True)
class GoBuild:
    """The build information of one program."""

    go: str
    """Version of the compiler: `go1.25.4`."""
    text: str = ""
    """Tab-separated lines: `path`, `mod`, `dep`, `=>`, `build`; see runtime/debug."""

    @property
    def module(self) -> str:
        """The path of the main module, or an empty text."""
        return self._first("mod")

    @property
    def linker_flags(self) -> str:
        """The value of -ldflags; empty when it was built with -trimpath."""
        return next(
            (
                line.removeprefix("build\t-ldflags=")
                for line in self.text.splitlines()
                if line.startswith("build\t-ldflags=")
            ),
            "",
        )

    def dependency(self, path: str) -> tuple[str, str] | None:
        """Module path and version of a dependency, after replacement; None without it."""
        found: tuple[str, str] | None = None
        for line in self.text.splitlines():
            fields = line.split("\t")
            if fields[0] == "=>" and found and len(fields) > 2:
                return fields[1], fields[2]
            if found:
                return found
            if fields[0] == "dep" and len(fields) > 2 and fields[1] == path:
                found = fields[1], fields[2]
        return found

    def _first(self, kind: str) -> str:
        lines = (line.split("\t") for line in self.text.splitlines())
        return next((fields[1] for fields in lines if fields[0] == kind and len(fields) > 1), "")


def read_file(file: BinaryIO, offset: int = 0, size: int | None = None) -> GoBuild | None:
    """The build information of the program of `size` bytes at `offset` of an open file."""
    end = os.fstat(file.fileno()).st_size if size is None else offset + size
    # Only the program is mapped: it may be a small part of a file of gigabytes.
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(file.fileno(), end - start, access=mmap.ACCESS_READ, offset=start) as data:
        return read(data, offset - start)


def read(data: Bytes, start: int = 0, end: int | None = None) -> GoBuild | None:
    """The build information of the program in `data[start:end]`, or None."""
    end = len(data) if end is None else end
    at = data.find(_MAGIC, start, end)
    while at >= 0:
        if at + _HEADER < end and data[at + 15] & _INLINE:
            go, after = _string(data, at + _HEADER, end)
            text, _ = _string(data, after, end)
            if re.match(rb"(go|devel)[0-9 ]", go):
                inner = text[_SENTINEL:-_SENTINEL]
                return GoBuild(
                    go=go.decode("ascii", "replace"), text=inner.decode("utf-8", "replace")
                )
        at = data.find(_MAGIC, at + 1, end)
    return None


def _string(data: Bytes, at: int, end: int) -> tuple[bytes, int]:
    """The string at `at` (its length as an unsigned LEB128 before it), and where it ends."""
    length = shift = 0
    while at < end and shift < 35:
        byte = data[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    if length > _MAX_TEXT or at + length > end:
        return b"", end
    return data[at : at + length], at + length
