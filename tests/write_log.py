"""What a guest wrote to its disk, and what a loss of power would have left of it.

QEMU's blklogwrites has the format of Linux's dm-log-writes: a superblock, then for each request a
sector that describes it and its data (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
OPTIONS = f"log-sector-size={SECTOR},log-super-update-interval=1"
"""Of QEMU's blklogwrites, as `read` takes its log."""
MAGIC = 0x6A736677736872
_FLUSH, _DISCARD = 1, 4
_MANY = 6


@dataclass(frozen=True)
class Write:
    """One sector; a drive writes a sector whole or not at all."""

    sector: int
    data: bytes


def read(log: Path) -> list[list[Write]]:
    """The writes between two flushes, in their order; a drive may reorder these."""
    data = log.read_bytes()
    magic, _, count, size = struct.unpack_from("<QQQI", data)
    assert (magic, size) == (MAGIC, SECTOR)
    at, epochs = SECTOR, [list[Write]()]
    for _ in range(count):
        first, sectors, flags, _ = struct.unpack_from("<QQQQ", data, at)
        at += SECTOR
        if flags & _FLUSH:
            epochs.append([])
        if flags & _DISCARD:
            continue
        for sector in range(first, first + sectors):
            epochs[-1].append(Write(sector, data[at : at + SECTOR]))
            at += SECTOR
    return [epoch for epoch in epochs if epoch]


def cuts(epochs: list[list[Write]]) -> Iterator[tuple[Write, ...]]:
    """What is on the disk when power is lost: all that was flushed, and any part of the rest.

    Of many writes between two flushes, some: those up to one, and all but one.
    """
    done: tuple[Write, ...] = ()
    for epoch in epochs:
        for part in _parts(epoch):
            yield (*done, *part)
        done = (*done, *epoch)
    yield done


def _parts(epoch: list[Write]) -> Iterator[tuple[Write, ...]]:
    if len(epoch) <= _MANY:
        for number in range(len(epoch)):
            yield from itertools.combinations(epoch, number)
        return
    for number in range(0, len(epoch), -(-len(epoch) // _MANY)):
        yield tuple(epoch[:number])
        yield (*epoch[:number], *epoch[number + 1 :])


def apply(disk: Path, writes: Iterable[Write]) -> None:
    """Put the writes onto a raw disk image."""
    with disk.open("r+b") as file:
        for write in writes:
            file.seek(write.sector * SECTOR)
            file.write(write.data)
