"""The guest's side of the story: JSON lines from its checker, commands to it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from edgeimg.errors import SmokeError
from edgeimg.text.json_text import JsonObject
from edgeimg.vm import qmp


class Channel:
    """The virtio-serial port of a running guest, as a stream of lines with deadlines."""

    def __init__(self, path: Path) -> None:
        """Connect to QEMU's end. Raises ToolError when QEMU does not come up."""
        self._socket: socket.socket = qmp.connect(path, timeout=20)
        self._buffer = b""

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def send(self, command: str) -> None:
        """Hand the checker a command: report, journal, reboot, poweroff."""
        self._socket.sendall(command.encode() + b"\n")

    def line(self, deadline: float, alive: Callable[[], None]) -> bytes:
        """The next line, before `deadline` (monotonic seconds).

        `alive` is called every second and raises when the machine has ended.
        Raises SmokeError after the deadline.
        """
        while b"\n" not in self._buffer:
            alive()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise SmokeError("the guest did not report it before the deadline")
            self._socket.settimeout(min(1.0, remaining))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            if not data:
                alive()
                raise SmokeError("QEMU closed the guest's report channel")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def event(self, deadline: float, alive: Callable[[], None]) -> JsonObject:
        """The next JSON object; other lines are skipped. Raises SmokeError after the deadline."""
        while True:
            try:
                value = json.loads(self.line(deadline, alive))
            except ValueError:
                continue
            if isinstance(value, dict):
                return value

    def text(self, end: str, deadline: float, alive: Callable[[], None]) -> str:
        """All lines until the event `end`: a journal. Raises SmokeError after the deadline."""
        lines: list[bytes] = []
        mark = f'{{"event":"{end}"}}'.encode()
        while (line := self.line(deadline, alive)) != mark:
            lines.append(line)
        return b"\n".join(lines).decode(errors="replace") + "\n"
