"""A pseudo-terminal, and somebody who reads and types at it."""

from __future__ import annotations

import os
import pty
import threading
import time
from pathlib import Path


class Terminal:
    """A pseudo-terminal. `path` is the end that a program opens."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        self.path = Path(os.ttyname(self._theirs))
        self.seen = bytearray()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.seen += os.read(self._ours, 4096)
            except OSError:
                return

    def until(self, text: str) -> str:
        """Wait for `text`, at most 20 s. Takes what was seen so far; returns what came before."""
        deadline = time.monotonic() + 20
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, bytes(self.seen)
            time.sleep(0.01)
        before, _, after = self.seen.partition(text.encode())
        del self.seen[: len(self.seen) - len(after)]
        return before.decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def hang_up(self) -> None:
        """Close the program's end."""
        os.close(self._theirs)

    def close(self) -> None:
        os.close(self._ours)
