"""Writing one image to one target: no success without having read it back.

The partition table goes last. Until then the first sector holds a mark instead, so that a disk that
was not finished is no system to any computer, and says what happened to whoever looks.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builder.errors import EdgeimgError, HostError
from builder.flash import source
from builder.flash.blockmap import BlockMap, Extent
from builder.flash.source import CHUNK
from builder.flash.target import Target
from builder.progress import Advance

HEAD = 1 << 20
"""Bytes of a disk before its first partition: the table is there."""
MARK = b"edgeimg: this disk was not finished, flash it again\n"
_SECTOR = 512
_TABLE = 34 * _SECTOR
"""GPT with its 128 entries and the protective MBR; the copy at the end lacks the MBR."""
_AHEAD = 4
"""Chunks that are unpacked before they are written."""

T = TypeVar("T")


class StoppedError(EdgeimgError):
    """Somebody interrupted it."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was done to one target."""

    written: int
    """Bytes."""
    discarded: bool
    """The rest of the device was told to forget what it held."""


def write(
    image: Path,
    blocks: BlockMap,
    target: Target,
    *,
    advance: Advance,
    stop: threading.Event,
) -> Written:
    """Write `image` to `target` and compare all of it with what is read back.

    `advance` is told bytes: each mapped byte twice, once written and once read. Raises HostError
    when the medium fails or holds something else, ImageError for the image's faults, StoppedError
    when `stop` was set. After any of these the target holds MARK and no partition table.
    """
    if target.size < blocks.image_size:
        raise HostError(
            f"it has {target.size} bytes, the image {blocks.image_size}",
            hint="take a larger medium",
        )
    _spoil(target)
    discarded = target.discard(HEAD, target.size)
    head = _Head()
    with source.opened(image) as stream:
        for offset, data in _ahead(source.pieces(stream, blocks, image), stop):
            late = head.keep(offset, data)
            if late < len(data):
                target.write(offset + late, data[late:])
            advance(len(data))
    target.sync()
    for extent in blocks.extents:
        if extent.end > HEAD:
            _compare(target, extent, head, advance, stop)
    for offset, data in head.pieces:
        target.write(offset, data)
    target.sync()
    for offset, data in head.pieces:
        if target.read(offset, len(data)) != data:
            _spoil(target)
            raise _differs(offset)
        advance(len(data))
    return Written(written=blocks.mapped, discarded=discarded)


class _Head:
    """What is written last."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []

    def keep(self, offset: int, data: bytes) -> int:
        """Take what is before HEAD; how many bytes of `data` that was."""
        early = max(0, min(len(data), HEAD - offset))
        if early:
            self.pieces.append((offset, data[:early]))
        return early

    def of(self, extent: Extent) -> Iterator[bytes]:
        """What was kept of an extent."""
        return (data for offset, data in self.pieces if extent.start <= offset < extent.end)


def _spoil(target: Target) -> None:
    """Put the mark in the place of the partition table, and wipe the copy at the end."""
    target.write(0, MARK.ljust(_TABLE, b"\0"))
    target.write(target.size - _TABLE, bytes(_TABLE))
    target.sync()


def _compare(
    target: Target, extent: Extent, head: _Head, advance: Advance, stop: threading.Event
) -> None:
    """Raises HostError when an extent, less its bytes before HEAD, reads differently."""
    digest = hashlib.sha256()
    for data in head.of(extent):
        digest.update(data)
    position = max(extent.start, HEAD)
    while position < extent.end:
        if stop.is_set():
            raise StoppedError("interrupted")
        data = target.read(position, min(CHUNK, extent.end - position))
        digest.update(data)
        position += len(data)
        advance(len(data))
    if digest.hexdigest() != extent.sha256:
        raise _differs(max(extent.start, HEAD))


def _differs(offset: int) -> HostError:
    return HostError(
        f"what was read back at byte {offset} is not what was written",
        hint="the medium is worn out or a counterfeit: take another one",
    )


def _ahead(items: Iterator[T], stop: threading.Event) -> Iterator[T]:
    """The items, made in a thread of their own while the last ones are used."""
    made: queue.Queue[T | BaseException | None] = queue.Queue(_AHEAD)
    over = threading.Event()

    def put(item: T | BaseException | None) -> bool:
        while not over.is_set():
            try:
                made.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if stop.is_set():
                raise StoppedError("interrupted")
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()
