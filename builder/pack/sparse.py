"""Files with holes: what is zero takes no room on the host's disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

BLOCK = 4096
_CHUNK = 1 << 18
_ZEROS = bytes(_CHUNK)


def chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of every part of the file that is not all zero, 256 KiB at most."""
    with path.open("rb") as file:
        offset = 0
        while chunk := file.read(_CHUNK):
            if chunk != _ZEROS[: len(chunk)]:
                yield offset, chunk
            offset += len(chunk)


def copy(source: Path, target: Path, *, offset: int) -> None:
    """Copy `source` into the existing file `target` at `offset`, leaving holes for zeros.

    The target must be zero there already.
    """
    with target.open("r+b") as out:
        for position, chunk in chunks(source):
            out.seek(offset + position)
            out.write(chunk)


def used(path: Path) -> int:
    """Bytes up to the end of the last 4 KiB block that holds anything but zeros."""
    end = 0
    for position, chunk in chunks(path):
        end = position + len(chunk.rstrip(b"\0"))
    return -(-end // BLOCK) * BLOCK
