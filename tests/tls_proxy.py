"""An HTTP proxy with CONNECT (RFC 9110, 9.3.6), and a TLS certificate of a private CA."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.http_server import LocalServer, QuietHandler

NAME = "updates.example"
"""Of the server; only the proxy knows where it is."""


class Proxy(LocalServer):
    """Forwards connections for `NAME` to the local port `target`; `asked` lists every request."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.asked: list[str] = []
        super().__init__(self._handler())

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(QuietHandler):
            def do_CONNECT(self) -> None:  # noqa: N802
                outer.asked.append(self.path)
                if self.path != f"{NAME}:443":
                    self.send_error(403)
                    return
                with socket.create_connection(("127.0.0.1", outer.target)) as server:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=_copy, args=(server, self.connection))
                    back.start()
                    _copy(self.connection, server)
                    back.join()
                self.close_connection = True

        return Handler


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two has gone


def with_tls(server: LocalServer, folder: Path) -> Path:
    """Serve TLS as `NAME`; returns the self-signed certificate, a file in `folder`."""
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-nodes", "-keyout", folder / "tls.key", "-out", folder / "tls.pem"]
    subprocess.run([*openssl, *names, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    server.speak_tls(context)
    return folder / "tls.pem"
