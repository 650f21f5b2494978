"""Bodies of a transfer that must keep a pace, and whose bytes are hashed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import IO, Protocol

from edgeimg.fetch.http import BLOCK, GoneError
from edgeimg.fetch.session import Deadline

RATE = 256 << 10
"""Bytes per second, on average: a slower server costs more time than a build."""
SLOW = f"slower than {RATE >> 10} KiB/s"


class Pace:
    """Ends a transfer that is slower than RATE on average, after `patience` seconds more."""

    def __init__(self, deadline: Deadline, patience: float) -> None:
        self._deadline, self._patience = deadline, patience
        self._began = time.monotonic()
        self.bytes = 0

    def count(self, size: int) -> None:
        """Count bytes that were moved. Raises GoneError."""
        self.bytes += size
        self._deadline.earn(size)
        if time.monotonic() - self._began > self._patience + self.bytes / RATE:
            raise GoneError(SLOW)


class Output(Protocol):
    """Takes the bytes of a body."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""


class Hashed:
    """Writes to a file and hashes what is written."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash) -> None:
        self._file, self._digest = file, digest

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""
        self._digest.update(data)
        return self._file.write(data)


class Upload:
    """A body of a known size, which is sent no slower than RATE."""

    def __init__(self, file: IO[bytes], size: int, pace: Pace) -> None:
        self._file, self._size, self._pace = file, size, pace

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(BLOCK if size < 0 else min(size, BLOCK))
        self._pace.count(len(data))
        return data
