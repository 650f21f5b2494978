"""The raw disk image in a file, which may be compressed (.raw.zst)."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError
from edgeimg.image.partitions import LARGE_SECTOR, SECTOR
from edgeimg.streams import decoding, sparse
from edgeimg.streams.decoding import Peeked, Source, Stream, chunks
from edgeimg.streams.limits import IMAGE

_HEADER = struct.Struct("<8s24xQ")
"""Of a GPT: its signature, and the sector of its copy, which is the last of the disk."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The raw image as a stream.

    Raises ImageError when the file cannot be read, is neither a file nor a disk, or is damaged.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for whoever writes to it.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None
    kind = os.fstat(number).st_mode
    if stat.S_ISDIR(kind) or not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
        os.close(number)
        what = "a directory" if stat.S_ISDIR(kind) else "neither a file nor a disk"
        raise ImageError(f"{path} is {what}")
    with os.fdopen(number, "rb") as file:
        method = decoding.recognise(file.read(6))
        file.seek(0)
        if method is None:
            yield file
        else:
            yield Stream(file, str(path), method=method, limits=IMAGE, failure=_damaged)


def _damaged(message: str) -> ImageError:
    return ImageError(message, hint="get it once more")


def is_compressed(path: Path) -> bool:
    """Whether the file holds a compressed image. Raises ImageError; see `opened`."""
    with opened(path) as stream:
        return isinstance(stream, Stream)


def measure(path: Path, *, limit: int) -> int:
    """Bytes of the raw image in `path`; reading stops soon after `limit` bytes.

    Raises ImageError when it is damaged.
    """
    size = 0
    with opened(path) as stream:
        for block in chunks(stream):
            size += len(block)
            if size > limit:
                break
    return size


def unpack(path: Path, output: Path) -> None:
    """Write the raw image in `path` to the sparse file `output`.

    Raises ImageError when it is damaged or empty, or larger than its partition table says, and
    HostError when the disk is full.
    """
    with opened(path) as stream, disk_errors(output), output.open("wb") as raw:
        peeked = Peeked(stream, 2 * LARGE_SECTOR)
        sparse.write(_as_declared(peeked, path), raw)


def require_disk(path: Path) -> None:
    """Raises ImageError for what cannot be a disk image, before tools are fetched to read it."""
    with opened(path) as stream:
        if is_compressed(path):
            _declared_size(stream.read(2 * LARGE_SECTOR), path)


def _declared_size(start: bytes, path: Path) -> int:
    """Bytes of the disk, by the partition table in its first bytes. Raises ImageError."""
    if not start:
        raise ImageError(f"{path} is no disk image: it is empty")
    start = start.ljust(2 * LARGE_SECTOR, b"\0")
    for sector in (SECTOR, LARGE_SECTOR):
        magic, last = _HEADER.unpack_from(start, sector)
        if magic == b"EFI PART":
            break
    else:
        raise ImageError(f"{path} is no disk image: it has no partition table")
    size: int = (last + 1) * sector
    if size > IMAGE.bytes:
        raise ImageError(
            f"{path} is damaged: its partition table is for a disk of {size >> 30} GiB, "
            f"and images have {IMAGE.bytes >> 30} GiB at most"
        )
    return size


def _as_declared(stream: Peeked, path: Path) -> Iterator[bytes]:
    """The bytes of a disk. Raises ImageError beyond the size that its partition table declares."""
    size = left = _declared_size(stream.start, path)
    for piece in chunks(stream):
        left -= len(piece)
        if left < 0:
            raise ImageError(
                f"{path} is damaged: more than the {size} bytes that its partition table names"
            )
        yield piece
