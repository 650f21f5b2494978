"""Writing one image to one target: no success without having read it back.

The partition table goes last. Until then the first sector holds a mark instead, so that a disk that
was not finished is no system to any computer, and says what happened to whoever looks.
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
from edgeimg.progress import Advance

HEAD = 1 << 20
"""Bytes of a disk before its first partition: the table is there."""
MARK = b"edgeimg: this disk was not finished, flash it again\n"
_SECTOR = 512
_TABLE = 34 * _SECTOR
"""GPT with its 128 entries and the protective MBR; the copy at the end lacks the MBR."""
_WINDOW = 8 << 20
"""Bytes between two flushes: what is read back at the end, when nothing is left to write."""

Phase = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was done to one target, in bytes."""

    written: int
    kept: int
    """Was there already, from an attempt that was interrupted."""
    read_back: int
    discarded: int
    """What the device was told to forget; 0 when it cannot."""


def write(
    image: Path,
    blocks: BlockMap,
    target: Target,
    *,
    advance: Advance,
    stop: threading.Event,
    phase: Phase = lambda _: None,
) -> Written:
    """Write `image` to `target` and compare all of it with what is read back.

    `advance` is told the bytes that were read back, `phase` what is being done. On a target that
    was not finished with the same image, what is there already is only read. Raises HostError when
    the medium fails or holds something else, ImageError for the image's faults, StoppedError when
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
    head, samples, kept = _Head(), Samples(), 0
    with (
        source.opened(image) as stream,
        readback.following(target, blocks, advance=advance, stop=stop) as follower,
    ):
        flushed = _Flushed(target, follower)
        for offset, data in ahead(source.pieces(stream, blocks, image), stop):
            if late := head.keep(offset, data):
                flushed.add(Stretch(offset=offset, size=late, data=data[:late]))
            start, rest = offset + late, data[late:]
            if not rest:
                continue
            samples.take(start, rest)
            # In order, so behind the first difference nothing was written.
            resumes = resumes and target.read(start, len(rest)) == rest
            if resumes:
                kept += len(rest)
                advance(len(rest))
            else:
                target.write(start, rest)
            flushed.add(Stretch(offset=start, size=len(rest), data=rest if resumes else None))
        flushed.now()
        phase("read back")
        follower.finish()
    samples.compare(target)
    phase("table")
    head.finish(target, blocks, advance)
    return Written(
        written=blocks.mapped - kept, kept=kept, read_back=blocks.mapped, discarded=discarded
    )


class _Flushed:
    """Hands on to the reader what the device was flushed behind."""

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
    """What is written last."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []

    def keep(self, offset: int, data: bytes) -> int:
        """Take what is before HEAD; how many bytes of `data` that was."""
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
                _spoil(target, _mark(blocks))
            raise


def _clear(target: Target, blocks: BlockMap) -> int:
    """Take away what was there, and leave the mark; how many bytes were discarded."""
    # The mark that allows going on comes only when nothing old can be left behind it.
    _spoil(target, MARK)
    size = target.size - HEAD
    discarded = size if target.discard(HEAD, target.size) else 0
    _spoil(target, _mark(blocks))
    return discarded


def _is_marked(target: Target, blocks: BlockMap) -> bool:
    """Whether an attempt with the same image was interrupted here."""
    try:
        return target.read(0, _TABLE) == _mark(blocks)
    except HostError:  # writing may well heal a sector that cannot be read
        return False


def _mark(blocks: BlockMap) -> bytes:
    return (MARK + f"image {blocks.digest}\n".encode()).ljust(_TABLE, b"\0")


def _spoil(target: Target, mark: bytes) -> None:
    """Put a mark in the place of the partition table, and wipe the copy at the end."""
    target.write(0, mark.ljust(_TABLE, b"\0"))
    target.write(target.size - _TABLE, bytes(_TABLE))
    target.sync()
