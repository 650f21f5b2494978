"""Files with holes: what is zero takes no room on the host's disk."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 4096
_CHUNK = 1 << 18
_FICLONE = 0x40049409
"""ioctl(2) number of linux/fs.h."""
_ZEROS = bytes(1 << 20)


def chunks(path: Path, *, offset: int = 0, size: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Position and bytes of every part that is not all zero, 256 KiB at most.

    Positions count from `offset`; `size` bytes from there are looked at, or all. Holes are not
    read.
    """
    with path.open("rb") as file:
        position = 0
        left = path.stat().st_size - offset if size is None else size
        while left > position:
            position += _hole(file.fileno(), offset + position)
            file.seek(offset + position)
            # Chunks begin at multiples of their size, but for what follows a hole.
            wanted = min(_CHUNK - position % _CHUNK, left - position)
            if wanted <= 0 or not (chunk := file.read(wanted)):
                break
            if not _is_zero(chunk):
                yield position, chunk
            position += len(chunk)


def _hole(number: int, start: int) -> int:
    """Bytes of a file from `start` on that are a hole; 0 where the kernel knows of none."""
    try:
        return os.lseek(number, start, os.SEEK_DATA) - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # a device
            return 0
        return max(0, os.lseek(number, 0, os.SEEK_END) - start)


def write(pieces: Iterable[bytes], target: BinaryIO) -> int:
    """Write `pieces` to a new file one after the other, with holes for zeros; returns its size."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if _is_zero(piece):
            target.seek(len(piece), os.SEEK_CUR)
        else:
            target.write(piece)
    target.truncate()
    return size


def _is_zero(piece: bytes) -> bool:
    """Compares: counting zeros takes twenty times as long."""
    return all(
        piece[at : at + len(_ZEROS)] == _ZEROS[: len(piece) - at]
        for at in range(0, len(piece), len(_ZEROS))
    )


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
