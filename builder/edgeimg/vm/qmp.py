"""The QEMU Machine Protocol: JSON lines over a socket (docs/interop/qmp-spec of QEMU)."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from types import TracebackType

from edgeimg.errors import ToolError
from edgeimg.text.json_text import Json, JsonObject


class Qmp:
    """A connection to a running QEMU; `events` collects its events."""

    def __init__(self, path: Path, *, timeout: float = 10.0) -> None:
        """Connect within `timeout` seconds, in which QEMU makes the socket.

        Raises ToolError when no QEMU answers.
        """
        self.events: list[JsonObject] = []
        self._buffer = b""
        self._socket = connect(path, timeout=timeout)
        self._socket.settimeout(timeout)
        try:
            self._message()
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def execute(self, command: str, **arguments: object) -> Json:
        """Run a command and return its result. Raises ToolError when QEMU rejects it or ended."""
        message = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ToolError(f"QEMU rejects {command}: {error}") from error
        while True:
            answer = self._message()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise ToolError(f"QEMU refuses {command}: {answer['error'].get('desc')}")
            self.events.append(answer)

    def status(self) -> str:
        """The machine's run state: `running`, `paused`, `internal-error`, `guest-panicked`, …"""
        return str(self.execute("query-status")["status"])

    def _message(self) -> JsonObject:
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(65536)
            except OSError as error:
                raise ToolError(f"QEMU does not answer: {error}") from error
            if not data:
                raise ToolError("QEMU has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: JsonObject = json.loads(line)
        return message


def connect(path: Path, *, timeout: float) -> socket.socket:
    """Connect to a Unix socket that may take `timeout` seconds to come into being.

    Raises ToolError when it does not.
    """
    deadline = time.monotonic() + timeout
    while True:
        connection = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            connection.connect(str(path))
            return connection
        connection.close()
        if time.monotonic() > deadline:
            raise ToolError("QEMU did not start: its socket does not answer")
        time.sleep(0.05)
