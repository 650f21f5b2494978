"""A shared build cache for tests: an HTTP server that keeps what is PUT."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.http_server import LocalServer, QuietHandler


class CacheServer(LocalServer):
    """Keeps what is PUT; `answers[path]` replaces the answer to a GET, `refuses` that to PUT."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.refuses = 0
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path, Authorization."""
        outer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802
                outer.requests.append(("GET", self.path, self.headers.get("Authorization")))
                if self.path in outer.answers:
                    outer.answers[self.path](self)
                    self.close_connection = True
                elif self.path in outer.files:
                    answer(200, outer.files[self.path])(self)
                else:
                    answer(404)(self)

            def do_PUT(self) -> None:  # noqa: N802
                outer.requests.append(("PUT", self.path, self.headers.get("Authorization")))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not outer.refuses:
                    outer.files[self.path] = body
                answer(outer.refuses or 201)(self)

        super().__init__(Handler)
        self.url += "/cache"


def answer(
    status: int, body: bytes = b"", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer; `headers` replace its own."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(OSError):  # the client has had enough
            handler.wfile.write(body)

    return send
