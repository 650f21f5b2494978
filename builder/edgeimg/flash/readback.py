"""Reads written data back from the medium while more is being written.

A thread with its own descriptor follows the writer. It gets a stretch only after the device was
flushed, and it bypasses the page cache, so it reads the data of the device.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from edgeimg.errors import HostError
from edgeimg.flash.ahead import StoppedError
from edgeimg.flash.target import Target
from edgeimg.image.blockmap import BlockMap
from edgeimg.progress import Advance

BLOCK = 4096
_SPACING = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of one extent that is on the medium; they come in the order of the image."""

    offset: int
    size: int
    data: bytes | None = None
    """Blocks that are not read for their digest: they were just read, or will be at the end."""


_Queue = queue.SimpleQueue["Stretch | None"]


class Follower:
    """The writer's side of the thread."""

    def __init__(self, stretches: _Queue, result: Future[None]) -> None:
        self._stretches, self._result = stretches, result

    def follow(self, stretches: Iterable[Stretch]) -> None:
        """Have these read back. Raises HostError when an earlier one reads differently."""
        if self._result.done():
            self._result.result()
        for stretch in stretches:
            self._stretches.put(stretch)

    def finish(self) -> None:
        """Wait until all is read back. Raises HostError when something reads differently."""
        self._stretches.put(None)
        self._result.result()


@contextlib.contextmanager
def following(
    target: Target, blocks: BlockMap, *, advance: Advance, stop: threading.Event
) -> Iterator[Follower]:
    """Compare the data of `target` with the digests of `blocks`, behind its writer.

    `advance` gets the number of bytes read.
    """
    stretches: _Queue = queue.SimpleQueue()
    over = threading.Event()
    with target.reader() as reader, ThreadPoolExecutor(max_workers=1) as pool:
        flushed = iter(stretches.get, None)
        ended = [stop.is_set, over.is_set]
        result = pool.submit(_compare, reader, blocks, flushed, advance, ended)
        try:
            yield Follower(stretches, result)
        finally:
            over.set()
            stretches.put(None)


def _compare(
    reader: Target,
    blocks: BlockMap,
    stretches: Iterable[Stretch],
    advance: Advance,
    ended: list[Callable[[], bool]],
) -> None:
    """Raises HostError for the first extent that reads differently."""
    extents, digest = list(blocks.extents), hashlib.sha256()
    for stretch in stretches:
        if any(is_ended() for is_ended in ended):
            raise StoppedError("interrupted")
        if stretch.data is None:
            digest.update(reader.read(stretch.offset, stretch.size))
            advance(stretch.size)
        else:
            digest.update(stretch.data)
        if stretch.offset + stretch.size == extents[0].end:
            extent = extents.pop(0)
            if digest.hexdigest() != extent.sha256:
                raise differs(extent.start)
            digest = hashlib.sha256()


class Samples:
    """The first and last block of every MiB, to be looked at once more when all is written.

    A counterfeit whose addresses start over behind its real end lets later writes fall on earlier
    ones, after those were read back. Its real size is a whole number of MiB, and so is the place
    of every partition and of the image's end: wherever a partition or the second partition table
    fell, it took one of these blocks.
    """

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}

    def take(self, offset: int, data: bytes) -> None:
        """Store the expected content of some blocks of a stretch."""
        end = offset + len(data)
        for start in range(offset - offset % _SPACING, end, _SPACING):
            for at in (start, start + _SPACING - BLOCK):
                if offset <= at and at + BLOCK <= end:
                    block = data[at - offset : at - offset + BLOCK]
                    self._digests[at] = hashlib.sha256(block).digest()

    def compare(self, target: Target) -> None:
        """Raises HostError when one has changed."""
        for at, digest in self._digests.items():
            if hashlib.sha256(target.read(at, BLOCK)).digest() != digest:
                raise differs(at)


def differs(offset: int) -> HostError:
    """The medium does not hold the data that was written."""
    return HostError(
        f"the data read back at byte {offset} differs from the data written",
        hint="the medium is worn out or a counterfeit: take another one",
    )
