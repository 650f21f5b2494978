"""Reading back from the medium what was written to it, while more is being written.

A thread with a descriptor of its own follows the writer. It is told of a stretch only when the
device was flushed behind it, and reads past the page cache: what it sees is what the device has.
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
    """What need not be read for its digest: it was read just now, or will be at the end."""


_Queue = queue.SimpleQueue["Stretch | None"]


class Follower:
    """The writer's side of the thread."""

    def __init__(self, stretches: _Queue, found: Future[None]) -> None:
        self._stretches, self._found = stretches, found

    def follow(self, stretches: Iterable[Stretch]) -> None:
        """Have these read back. Raises HostError when an earlier one reads differently."""
        if self._found.done():
            self._found.result()
        for stretch in stretches:
            self._stretches.put(stretch)

    def finish(self) -> None:
        """Wait until all is read back. Raises HostError when something reads differently."""
        self._stretches.put(None)
        self._found.result()


@contextlib.contextmanager
def following(
    target: Target, blocks: BlockMap, *, advance: Advance, stop: threading.Event
) -> Iterator[Follower]:
    """Compare what `target` holds with the digests of `blocks`, behind its writer.

    `advance` is told the bytes that were read.
    """
    stretches: _Queue = queue.SimpleQueue()
    over = threading.Event()
    with target.reader() as reader, ThreadPoolExecutor(max_workers=1) as pool:
        told = iter(stretches.get, None)
        ended = [stop.is_set, over.is_set]
        found = pool.submit(_compare, reader, blocks, told, advance, ended)
        try:
            yield Follower(stretches, found)
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
        if any(asked() for asked in ended):
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
        """Remember what has to be in some blocks of a stretch."""
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
    """The medium does not hold what it was given."""
    return HostError(
        f"what was read back at byte {offset} is not what was written",
        hint="the medium is worn out or a counterfeit: take another one",
    )
