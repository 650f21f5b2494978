"""The disk a guest may write to: a thin layer over the unchanged image."""

from __future__ import annotations

from pathlib import Path

import zstandard

from edgeimg.cache.store import Store, disk_errors, key, sha256_file
from edgeimg.errors import ImageError
from edgeimg.tools import Toolbox

SIZE = 4 << 30
"""Bytes of the guest's disk: a small eMMC. What the image leaves free becomes its data."""
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)


def raw_image(image: Path, store: Store) -> Path:
    """The raw disk image of `image`, which is one, or a `.zst` of one.

    A compressed one is unpacked into the cache once for its content, with its zeros as holes.
    Raises ImageError when it is damaged, HostError when the disk is full.
    """
    if image.suffix != ".zst":
        return image

    def unpack(path: Path) -> None:
        try:
            _unpack(image, path)
        except zstandard.ZstdError as error:
            raise ImageError(f"{image} is damaged: {error}") from error

    return store.derived(key("raw", "1", sha256_file(image)), unpack)


def overlay(raw: Path, path: Path, *, toolbox: Toolbox) -> None:
    """Make the qcow2 file `path` of SIZE bytes over `raw`, which is only read.

    Raises ToolError when qemu-img fails.
    """
    size = max(SIZE, raw.stat().st_size)
    toolbox.run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.resolve(), path,
        str(size), timeout=60,
    )  # fmt: skip


def _unpack(image: Path, path: Path) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with disk_errors(path), image.open("rb") as source, path.open("wb") as target:
        stream = decompressor.stream_reader(source, read_across_frames=True)
        while block := _fill(stream):
            if block == _ZEROS[: len(block)]:
                target.seek(len(block), 1)
            else:
                target.write(block)
        target.truncate()
        # The decompressor takes a truncated file for a short one.
        promised = zstandard.get_frame_parameters(_head(image)).content_size
        if promised not in (zstandard.CONTENTSIZE_UNKNOWN, target.tell()):
            raise ImageError(f"{image} is damaged: {target.tell()} of {promised} bytes unpack")


def _fill(stream: zstandard.ZstdDecompressionReader) -> bytes:
    """A whole chunk where there is one: a short read must not hide a hole."""
    parts: list[bytes] = []
    missing = _CHUNK
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _head(image: Path) -> bytes:
    with image.open("rb") as source:
        return source.read(18)
