"""The one policy for input that others made: how much of everything is read before it is refused.

`UNTRUSTED` holds for packages, container images, K3s and archives in overlays. `IMAGE` holds for
finished disk images, which have no ratio: an empty disk compresses almost to nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from edgeimg.errors import ArchiveError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds of one input; all sizes are bytes."""

    bytes: int = 4 << 30
    """Of what one stream unpacks to."""
    free: int = 256 << 20
    """A stream may unpack to this, and beyond it to `ratio` times its compressed size."""
    ratio: int | None = 100
    window: int = 128 << 20
    """Of the memory that a decoder keeps: what `zstd --long=27` writes, and K3s' `--long=25`."""
    streams: int = 500_000
    """Compressed streams in a row in one file: layers have one for every file of theirs."""
    header: int = 1 << 20
    """Of one extended header of a tar (long names, pax records)."""
    headers: int = 64 << 20
    """Of all extended headers of one tar."""
    nodes: int = 200_000
    """Members of one archive, with the directories that its paths imply."""
    path: int = 4096
    """Of a path or the target of a link (PATH_MAX)."""
    name: int = 255
    """Of one name in a path (NAME_MAX)."""
    attributes: int = 60 << 10
    """Of all extended attributes of a file: file systems keep at most 64 KiB."""
    depth: int = 256
    """Directories in one path."""
    seconds: float = 30.0
    """Processor time of the thread, and one second more for every MiB that is read or written.

    Not wall time: a busy host refuses nothing that an idle one takes.
    """

    def output(self, packed: int | None) -> int:
        """Bytes that a stream of `packed` bytes may unpack to; None is an unknown size."""
        if packed is None or self.ratio is None:
            return self.bytes
        return min(self.bytes, self.free + self.ratio * packed)


UNTRUSTED = Limits()
IMAGE = replace(UNTRUSTED, bytes=1 << 36, ratio=None, seconds=float("inf"))


@dataclass(kw_only=True)
class Budget:
    """What one input has used of its limits. Every method raises ArchiveError beyond them."""

    label: str
    limits: Limits = UNTRUSTED
    moved: int = 0
    """Bytes that were read and written."""
    nodes: int = 0
    headers: int = 0
    started: float = field(default_factory=time.thread_time)

    def move(self, size: int) -> None:
        """Count bytes, and look at the clock."""
        self.moved += size
        allowed = self.limits.seconds + self.moved / (1 << 20)
        if time.thread_time() - self.started > allowed:
            raise ArchiveError(f"{self.label}: refused after {allowed:.0f} s: too much work")

    def node(self, count: int = 1) -> None:
        """Count members."""
        self.nodes += count
        if self.nodes > self.limits.nodes:
            raise ArchiveError(f"{self.label}: more than {self.limits.nodes} members")
        if self.nodes % 64 == 0:
            self.move(0)

    def header(self, size: int) -> None:
        """Count an extended header before it is read."""
        self.headers += size
        if size > self.limits.header or self.headers > self.limits.headers:
            raise ArchiveError(f"{self.label}: its extended headers are too large")

    def path(self, path: str) -> None:
        """Check the length and depth of a path, and the lengths of its names."""
        if len(path) > self.limits.path:
            raise ArchiveError(f"{self.label}: a path is longer than {self.limits.path} bytes")
        # A character has four bytes at most.
        if len(path) > self.limits.name // 4 and any(
            len(name.encode("utf-8", "surrogateescape")) > self.limits.name
            for name in path.split("/")
        ):
            raise ArchiveError(
                f"{self.label}: a name in /{path[:60]}… is longer than {self.limits.name} bytes"
            )
        if path.count("/") >= self.limits.depth:
            raise ArchiveError(
                f"{self.label}: /{path[:60]}… is more than {self.limits.depth} directories deep"
            )
