"""Bounds of a FAT that others made, before mtools reads it (Microsoft's FAT specification 1.03).

mtools follows directories in circles and copies what every entry claims as its size.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ImageError
from edgeimg.streams.limits import UNTRUSTED, Budget

_ENTRY = 32
_FREE, _LABEL, _DIRECTORY = 0xE5, 0x08, 0x10
"""Long names have the bit of labels."""
_SECTORS = (512, 1024, 2048, 4096)
_HEAD = struct.Struct("<11xHBHBHHxH8xII4xI")
"""Bytes of a sector, sectors of a cluster, reserved sectors, tables, entries of the root directory,
all sectors and those of a table in 16 bits, both in 32 bits, cluster of the root directory."""
_MOST_CLUSTERS = {12: 4084, 16: 65524}
_ENDS = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}


class _Fat:
    """The FAT at `offset` of a file, `label` in errors. Raises ImageError, struct.error."""

    def __init__(self, file: BinaryIO, offset: int, label: str) -> None:
        self._file, self._offset, self._label = file, offset, label
        (
            sector, per_cluster, reserved, tables, entries, total, size, long_total, long_size,
            self._root,
        ) = _HEAD.unpack_from(self._read(0, 512))  # fmt: skip
        if sector not in _SECTORS or not per_cluster:
            raise ImageError(f"{label} is not FAT")
        self._table, self._cluster = reserved * sector, sector * per_cluster
        self._fixed = self._table + tables * (size or long_size) * sector
        self._fixed_size = -(-entries * _ENTRY // sector) * sector
        self._data = self._fixed + self._fixed_size
        count = ((total or long_total) * sector - self._data) // self._cluster
        sizes = (bits for bits, most in _MOST_CLUSTERS.items() if size and count <= most)
        self._bits = next(sizes, 16 if size else 32)
        self._end = 2 + min(count, (size or long_size) * sector * 8 // self._bits)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(self._offset + start)
        data = self._file.read(size)
        if len(data) < size:
            raise struct.error
        return data

    def first(self, entry: bytes) -> int:
        """The first cluster of a directory entry."""
        high, low = struct.unpack_from("<20xH4xH", entry)
        cluster: int = high << 16 | low if self._bits == 32 else low
        return cluster

    def directory(self, cluster: int | None, seen: set[int]) -> Iterator[bytes]:
        """The clusters of a directory, each of which may be in `seen` once only; None: the root."""
        if cluster is None:
            if self._bits < 32:
                yield self._read(self._fixed, self._fixed_size)
                return
            cluster = self._root
        while cluster < _ENDS[self._bits]:
            if cluster in seen or not 2 <= cluster < self._end:
                raise ImageError(f"{self._label} has directories in a circle, or outside of it")
            seen.add(cluster)
            yield self._read(self._data + (cluster - 2) * self._cluster, self._cluster)
            cluster = self._next(cluster)

    def _next(self, cluster: int) -> int:
        wide = 4 if self._bits == 32 else 2
        data = self._read(self._table + cluster * self._bits // 8, wide)
        value = int.from_bytes(data, "little")
        if self._bits == 12:
            return value >> 4 if cluster % 2 else value & 0xFFF
        return value & 0x0FFFFFFF


def check(image: Path, *, offset: int = 0, size: int | None = None) -> None:
    """Look at all directory entries of the FAT at `offset` of `image`, of `size` bytes.

    Without `size` it reaches to the end of the file. Raises ImageError when its files claim more
    than that, its directories are damaged or lead in circles, ArchiveError beyond the limits for
    files of others.
    """
    label = f"the file system at byte {offset} of {image.name}"
    budget, seen, total = Budget(label=label), set[int](), 0
    try:
        with image.open("rb") as file:
            most = file.seek(0, os.SEEK_END) - offset if size is None else size
            fat = _Fat(file, offset, label)
            pending: list[tuple[int | None, int]] = [(None, 0)]
            while pending:
                cluster, depth = pending.pop()
                if depth > UNTRUSTED.depth:
                    raise ImageError(f"{label} has directories that are too deep")
                for entry in _entries(fat, cluster, seen, budget):
                    kind, length = struct.unpack("<11xB16xI", entry)
                    if kind & _DIRECTORY:
                        pending.append((fat.first(entry), depth + 1))
                    total += length
                    if total > min(most, UNTRUSTED.bytes):
                        raise ImageError(f"{label} has files that are larger than it")
    except struct.error:
        raise ImageError(f"{label} is truncated") from None


def _entries(fat: _Fat, cluster: int | None, seen: set[int], budget: Budget) -> Iterator[bytes]:
    """The files and directories of a directory, without itself and the one above."""
    for block in fat.directory(cluster, seen):
        budget.move(len(block))
        for place in range(0, len(block), _ENTRY):
            entry = block[place : place + _ENTRY]
            if not entry[0]:
                return
            budget.node()
            kind = entry[11] if len(entry) == _ENTRY else _LABEL
            named = entry[0] != _FREE and not kind & _LABEL
            if named and entry[:11].rstrip() not in (b".", b".."):
                yield entry
