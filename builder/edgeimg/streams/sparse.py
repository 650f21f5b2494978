"""Files with holes: what is zero takes no room on the host's disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 4096
_CHUNK = 1 << 18
_FICLONE = 0x40049409
"""ioctl(2) number of linux/fs.h."""
_ZEROS = bytes(_CHUNK)


def chunks(path: Path, *, offset: int = 0, size: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Position and bytes of every part that is not all zero, 256 KiB at most.

    Positions count from `offset`; `size` bytes from there are looked at, or all.
    """
    with path.open("rb") as file:
        file.seek(offset)
        position = 0
        left = path.stat().st_size - offset if size is None else size
        while left > position and (chunk := file.read(min(_CHUNK, left - position))):
            if chunk != _ZEROS[: len(chunk)]:
                yield position, chunk
            position += len(chunk)


def write(pieces: Iterable[bytes], target: BinaryIO) -> int:
    """Write `pieces` to a new file one after the other, with holes for zeros; returns its size."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if piece.count(0) == len(piece):
            target.seek(len(piece), os.SEEK_CUR)
        else:
            target.write(piece)
    target.truncate()
    return size


def copy(source: Path, target: Path, *, offset: int) -> None:
    """Copy `source` into the existing file `target` at `offset`, leaving holes for zeros.

    The target must be zero there already.
    """
    with target.open("r+b") as out:
        for position, chunk in chunks(source):
            out.seek(offset + position)
            out.write(chunk)


def extract(source: Path, target: Path, *, offset: int, size: int) -> None:
    """Copy `size` bytes at `offset` of `source` to the new file `target`, with holes."""
    with target.open("wb") as out:
        out.truncate(size)
        for position, chunk in chunks(source, offset=offset, size=size):
            out.seek(position)
            out.write(chunk)


def clone(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, with holes; an existing file keeps its mode.

    Where the file system can, both share their blocks (ioctl_ficlone(2)).
    """
    with source.open("rb") as file, target.open("wb") as out:
        try:
            fcntl.ioctl(out.fileno(), _FICLONE, file.fileno())
        except OSError:  # most file systems cannot
            size = os.fstat(file.fileno()).st_size
        else:
            return
    extract(source, target, offset=0, size=size)


def used(path: Path, *, offset: int = 0, size: int | None = None) -> int:
    """Bytes from `offset` to the end of the last 4 KiB block that is not all zero."""
    end = 0
    for position, chunk in chunks(path, offset=offset, size=size):
        end = position + len(chunk.rstrip(b"\0"))
    return -(-end // BLOCK) * BLOCK
