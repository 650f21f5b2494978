"""Bounds of a FAT32 that others made, before mtools reads it (Microsoft's FAT specification 1.03).

mtools follows directories in circles and copies what every entry claims as its size.
"""

from __future__ import annotations

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
_END = 0x0FFFFFF8


class _Fat:
    """The table of clusters of the FAT at `offset` of a file. Raises ImageError, struct.error."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self.file, self.offset = file, offset
        head = self.read(0, 512)
        sector, per_cluster, reserved, tables = struct.unpack_from("<HBHB", head, 11)
        (size,) = struct.unpack_from("<I", head, 36)
        (self.root,) = struct.unpack_from("<I", head, 44)
        if sector not in _SECTORS or not per_cluster or head[22:24] != b"\0\0":
            raise ImageError("its boot partition is no FAT32")
        self.table, self.cluster = reserved * sector, sector * per_cluster
        self.data = self.table + tables * size * sector
        self.count = size * sector // 4

    def read(self, start: int, size: int) -> bytes:
        self.file.seek(self.offset + start)
        return self.file.read(size)

    def chain(self, cluster: int, seen: set[int]) -> Iterator[bytes]:
        """The clusters of a directory; each may be in `seen` once only."""
        while cluster < _END:
            if cluster in seen or not 2 <= cluster < self.count:
                raise ImageError("its boot partition has directories in a circle, or outside of it")
            seen.add(cluster)
            yield self.read(self.data + (cluster - 2) * self.cluster, self.cluster)
            (entry,) = struct.unpack("<I", self.read(self.table + 4 * cluster, 4))
            cluster = entry & 0x0FFFFFFF


def check(image: Path, *, offset: int, size: int) -> None:
    """Look at all directory entries of the FAT32 at `offset` (bytes) of `image`.

    Raises ImageError when its files claim more than `size` bytes, its directories are damaged or
    lead in circles; ArchiveError beyond the limits for files of others.
    """
    budget, seen, total = Budget(label=image.name), set[int](), 0
    try:
        with image.open("rb") as file:
            fat = _Fat(file, offset)
            pending = [(fat.root, 0)]
            while pending:
                cluster, depth = pending.pop()
                if depth > UNTRUSTED.depth:
                    raise ImageError("its boot partition has directories that are too deep")
                for entry in _entries(fat, cluster, seen, budget):
                    kind, high, low, length = struct.unpack("<11xB8xH4xHI", entry)
                    if kind & _DIRECTORY:
                        pending.append((high << 16 | low, depth + 1))
                    total += length
                    if total > min(size, UNTRUSTED.bytes):
                        raise ImageError("its boot partition has files that are larger than it is")
    except struct.error:
        raise ImageError("its boot partition is truncated") from None


def _entries(fat: _Fat, cluster: int, seen: set[int], budget: Budget) -> Iterator[bytes]:
    """The files and directories of a directory, without itself and the one above."""
    for block in fat.chain(cluster, seen):
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
