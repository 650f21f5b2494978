"""A session with time limits: silent and very slow servers are disconnected.

Timeouts of sockets count from byte to byte. So a transfer has credit: seconds that pass use it up,
and bytes that arrive earn it back. Whoever sends less than RATE is cut off after PATIENCE, and no
transfer takes longer than PATIENCE + size / RATE, whatever the server does: during the TLS
handshake, in the middle of a header, or with informational responses without end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

PATIENCE = 60.0
"""Seconds that a transfer may take before its first byte, and the most credit it can have."""
RATE = 4096.0
"""Bytes per second that earn as much credit as time uses up."""


class Deadline:
    """One transfer's credit; when it is used up, the session's connections are shut down."""

    def __init__(self, lines: list[_Line], patience: float) -> None:
        self._lines = lines
        self._patience = patience
        self._until = time.monotonic() + patience
        self._done = threading.Event()
        self.expired = False
        threading.Thread(target=self._watch, daemon=True, name="deadline").start()

    def earn(self, size: int) -> None:
        """Count `size` bytes that arrived."""
        self._until = min(self._until + size / RATE, time.monotonic() + self._patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(max(0.0, self._until - time.monotonic())):
            if time.monotonic() >= self._until:
                self.expired = True
                for line in list(self._lines):
                    line.cut()
                # A connection may be opened just now, for a redirect: look again.
                self._until = time.monotonic() + 0.1


class _Line:
    """A second handle of a connection's socket, which TLS does not detach."""

    def __init__(self, connection: HTTPConnection, handle: socket.socket) -> None:
        self._connection = connection
        self._handle = handle

    @property
    def is_used(self) -> bool:
        return self._connection.sock is not None

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._handle.close()


class Session(requests.Session):
    """For one transfer at a time; keeps no cookies."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[_Line] = []
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self._lines))

    @contextlib.contextmanager
    def deadline(self, patience: float | None = None) -> Iterator[Deadline]:
        """Ends the transfers of the block when they take too long."""
        try:
            with Deadline(self._lines, PATIENCE if patience is None else patience) as deadline:
                yield deadline
        finally:
            for line in [line for line in self._lines if not line.is_used]:
                line.close()
                self._lines.remove(line)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        while self._lines:
            self._lines.pop().close()


class _Adapter(HTTPAdapter):
    def __init__(self, lines: list[_Line]) -> None:
        self._pools = _pools(lines)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # Cookies are not used, and Python's parser of cookies prints errors on stderr.
        original: Any = getattr(resp, "_original_response", None)
        for name in ("Set-Cookie", "Set-Cookie2") if getattr(original, "msg", None) else ():
            del original.msg[name]
        return super().build_response(req, resp)


def _pools(lines: list[_Line]) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            opened = super()._new_conn()
            lines.append(_Line(self, opened.dup()))
            return opened

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            opened = super()._new_conn()
            lines.append(_Line(self, opened.dup()))
            return opened

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
