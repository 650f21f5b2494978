"""The raw image as a stream, for programs that write disks in their own way."""

from __future__ import annotations

import os
from pathlib import Path

from edgeimg.errors import HostError
from edgeimg.flash import source
from edgeimg.image.blockmap import BlockMap
from edgeimg.progress import Advance

_ZEROS = bytes(1 << 20)


def stream(image: Path, blocks: BlockMap, fd: int, *, advance: Advance) -> None:
    """Write `image` to the descriptor `fd` in order, unmapped bytes as zeros.

    The end of a mapped range is written only after its digest has matched, so a reader that got
    all bytes has the image. `advance` gets numbers of bytes. Raises ImageError for a faulty image,
    HostError when the reader goes away.
    """
    position = 0
    with source.opened(image) as raw:
        for offset, data in source.pieces(raw, blocks, image):
            _zeros(fd, position, offset, advance)
            _all(fd, data, offset)
            advance(len(data))
            position = offset + len(data)
    _zeros(fd, position, blocks.image_size, advance)


def _zeros(fd: int, start: int, end: int, advance: Advance) -> None:
    for offset in range(start, end, len(_ZEROS)):
        size = min(len(_ZEROS), end - offset)
        _all(fd, _ZEROS[:size], offset)
        advance(size)


def _all(fd: int, data: bytes, offset: int) -> None:
    remaining = memoryview(data)
    try:
        while remaining:
            remaining = remaining[os.write(fd, remaining) :]
    except OSError as error:
        raise HostError(
            f"standard output takes no more after byte {offset + len(data) - len(remaining)}: "
            f"{error.strerror}",
            hint="the program that reads it must read the whole image and needs space for it",
        ) from None
