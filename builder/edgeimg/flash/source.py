"""The image as a stream: unpacked while it is read, cut to the blocks of its block map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from edgeimg.errors import ImageError
from edgeimg.image.blockmap import BlockMap, Extent
from edgeimg.image.raw import opened
from edgeimg.streams.decoding import Source

__all__ = ["CHUNK", "opened", "pieces"]

CHUNK = 4 << 20
"""Bytes that are handed on at once: a multiple of every sector size."""
_SKIPPED = 1 << 20


def pieces(stream: Source, blocks: BlockMap, path: Path) -> Iterator[tuple[int, bytes]]:
    """Offsets and bytes of all extents, in their order; each is compared with its digest.

    The last piece of an extent is handed on only after its digest has matched. Raises ImageError
    for an image that is truncated, damaged, or not the one of the block map.
    """
    position = 0
    try:
        for extent in blocks.extents:
            position = _skip(stream, position, extent.start, path)
            yield from _extent(stream, extent, path)
            position = extent.end
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None


def _extent(stream: Source, extent: Extent, path: Path) -> Iterator[tuple[int, bytes]]:
    digest, position = hashlib.sha256(), extent.start
    while position < extent.end:
        data = _exactly(stream, min(CHUNK, extent.end - position), path)
        digest.update(data)
        if position + len(data) == extent.end and digest.hexdigest() != extent.sha256:
            raise ImageError(
                f"{path} does not match its block map: bytes {extent.start} to {extent.end} differ",
                hint="get image and block map once more, from one release",
            )
        yield position, data
        position += len(data)


def _skip(stream: Source, position: int, target: int, path: Path) -> int:
    while position < target:
        position += len(_exactly(stream, min(_SKIPPED, target - position), path))
    return position


def _exactly(stream: Source, size: int, path: Path) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(missing)
        if not part:
            raise ImageError(f"{path} is truncated", hint="get it once more")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
