"""Writing one image to one target: no success without having read it back.

The partition table is written last. Until then the first sector holds a mark, so that no computer
boots an unfinished disk, and people can see what happened.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeimg.errors import HostError
from edgeimg.flash import readback, source
from edgeimg.flash.ahead import ahead
from edgeimg.flash.readback import Samples, Stretch
from edgeimg.flash.target import Target
from edgeimg.image.blockmap import BlockMap
from edgeimg.pack import gpt
from edgeimg.progress import Advance

HEAD = 1 << 20
"""Bytes of a disk before its first partition. They hold the partition table."""
MARK = b"edgeimg: this disk was not finished, flash it again\n"
_WINDOW = 8 << 20
"""Bytes between two flushes; as many are read back after the last write."""

Phase = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ByteCounts:
    """Bytes of one target by what happened to them."""

    written: int
    kept: int
    """Was there already, from an attempt that was interrupted."""
    read_back: int
    discarded: int
    """Bytes that the device discarded; 0 when it does not support that."""


def write(
    image: Path,
    blocks: BlockMap,
    target: Target,
    *,
    advance: Advance,
    stop: threading.Event,
    phase: Phase = lambda _: None,
) -> ByteCounts:
    """Write `image` to `target`, read all of it back and compare.

    `advance` gets the number of bytes read back, `phase` the name of the phase. On a target with an
    unfinished copy of the same image, existing data is only read. Raises HostError when the medium
    fails or holds other data, ImageError for a faulty image, StoppedError when
    `stop` was set. After any of these the target holds MARK and no partition table.
    """
    if target.size < blocks.image_size:
        raise HostError(
            f"it has {target.size} bytes, the image {blocks.image_size}",
            hint="take a larger medium",
        )
    discarded, resumes = 0, _is_marked(target, blocks)
    if not resumes:
        phase("discard")
        discarded = _clear(target, blocks)
    phase("write")
    head, samples, unchanged = _Head(), Samples(), 0
    with (
        source.opened(image) as stream,
        readback.following(target, blocks, advance=advance, stop=stop) as follower,
    ):
        flushed = _Flushed(target, follower)
        for offset, data in ahead(source.pieces(stream, blocks, image), stop):
            if late := head.keep(offset, data):
                flushed.add(Stretch(offset=offset, size=late, data=data[:late]))
            start, tail = offset + late, data[late:]
            if not tail:
                continue
            samples.take(start, tail)
            # Data is written in order, so nothing was written behind the first difference.
            resumes = resumes and target.read(start, len(tail)) == tail
            if resumes:
                unchanged += len(tail)
                advance(len(tail))
            else:
                target.write(start, tail)
            flushed.add(Stretch(offset=start, size=len(tail), data=tail if resumes else None))
        flushed.now()
        phase("read back")
        follower.finish()
    samples.compare(target)
    phase("table")
    head.finish(target, blocks, advance)
    return ByteCounts(
        written=blocks.mapped - unchanged,
        kept=unchanged,
        read_back=blocks.mapped,
        discarded=discarded,
    )


class _Flushed:
    """Passes stretches to the reader after the device was flushed."""

    def __init__(self, target: Target, follower: readback.Follower) -> None:
        self._target, self._follower = target, follower
        self._waiting: list[Stretch] = []

    def add(self, stretch: Stretch) -> None:
        self._waiting.append(stretch)
        if sum(one.size for one in self._waiting) >= _WINDOW:
            self.now()

    def now(self) -> None:
        self._target.sync()
        self._follower.follow(self._waiting)
        self._waiting.clear()


class _Head:
    """The first bytes of the disk, which are written last."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []

    def keep(self, offset: int, data: bytes) -> int:
        """Keep the bytes before HEAD. Returns how many bytes of `data` these are."""
        early = max(0, min(len(data), HEAD - offset))
        if early:
            self._pieces.append((offset, data[:early]))
        return early

    def finish(self, target: Target, blocks: BlockMap, advance: Advance) -> None:
        """Write it and read it back; the mark comes back when that fails."""
        try:
            for offset, data in self._pieces:
                target.write(offset, data)
            target.sync()
            for offset, data in self._pieces:
                if target.read(offset, len(data)) != data:
                    raise readback.differs(offset)
                advance(len(data))
        except HostError:
            with contextlib.suppress(HostError):
                _spoil(target, _mark(target, blocks))
            raise


def _clear(target: Target, blocks: BlockMap) -> int:
    """Discard the old content and write the mark. Returns the number of discarded bytes."""
    # The mark that allows a later run to continue is written only after all old data is gone.
    _spoil(target, MARK)
    size = target.size - HEAD
    discarded = size if target.discard(HEAD, target.size) else 0
    _spoil(target, _mark(target, blocks))
    return discarded


def _is_marked(target: Target, blocks: BlockMap) -> bool:
    """Whether an attempt with the same image was interrupted here."""
    try:
        return target.read(0, gpt.table_size(target.sector)) == _mark(target, blocks)
    except HostError:  # writing may well heal a sector that cannot be read
        return False


def _mark(target: Target, blocks: BlockMap) -> bytes:
    mark = MARK + f"image {blocks.digest}\n".encode()
    return mark.ljust(gpt.table_size(target.sector), b"\0")


def _spoil(target: Target, mark: bytes) -> None:
    """Put a mark in the place of the partition table, and wipe the copy at the end."""
    table = gpt.table_size(target.sector)
    target.write(0, mark.ljust(table, b"\0"))
    target.write(target.size - table, bytes(table))
    target.sync()
