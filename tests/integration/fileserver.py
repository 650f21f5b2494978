"""A real HTTP server on this machine that can be told to misbehave, request by request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.http_server import LocalServer, QuietHandler


class FileServer(LocalServer):
    """Serves `files` by path, with Range; `faults[path]` is used up one entry per request.

    A fault is a status (`503`), `"truncate"` (half of the body, then the connection is closed),
    `"stall"` (half of the body, then silence), `"no-range"` (the whole file whatever is asked),
    or a path beginning with `/` (a redirect there).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.log: list[tuple[str, str]] = []
        """Path and Range header of every request."""
        self.sent = 0
        """Bytes of body given to the network."""
        self.rate: float | None = None
        """Bytes per second, or as fast as it goes."""
        self.silence = 5.0
        """Seconds that a stall lasts."""
        self.before: Callable[[str], None] = lambda _: None
        super().__init__(self._handler())

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(QuietHandler):
            def do_HEAD(self) -> None:  # noqa: N802
                self.answer(body=False)

            def do_GET(self) -> None:  # noqa: N802
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                asked = self.headers.get("Range", "")
                outer.log.append((self.path, asked))
                outer.before(self.path)
                faults = outer.faults.get(self.path, [])
                fault = faults.pop(0) if faults else ""
                data = outer.files.get(self.path)
                if isinstance(fault, str) and fault.startswith("/"):
                    self.reply(302, {"Location": fault}, b"", body)
                elif isinstance(fault, int) or data is None:
                    self.reply(fault if isinstance(fault, int) else 404, {}, b"no", body)
                elif (match := re.fullmatch(r"bytes=(\d+)-(\d*)", asked)) and fault != "no-range":
                    start = int(match[1])
                    if start >= len(data):
                        self.reply(416, {}, b"", body)
                        return
                    last = min(int(match[2] or len(data)), len(data) - 1)
                    place = f"bytes {start}-{last}/{len(data)}"
                    self.reply(
                        206, {"Content-Range": place}, data[start : last + 1], body, str(fault)
                    )
                else:
                    self.reply(200, {}, data, body, str(fault))

            def reply(
                self, status: int, headers: dict[str, str], data: bytes, body: bool, fault: str = ""
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if not body:
                    return
                if fault in ("truncate", "stall"):
                    data = data[: len(data) // 2]
                try:
                    self.pour(data)
                    if fault == "stall":
                        time.sleep(outer.silence)
                except OSError:
                    pass
                self.close_connection = self.close_connection or bool(fault)

            def pour(self, data: bytes) -> None:
                step = 16384
                for offset in range(0, len(data), step):
                    block = data[offset : offset + step]
                    self.wfile.write(block)
                    outer.sent += len(block)
                    if outer.rate:
                        time.sleep(len(block) / outer.rate)

        return Handler
