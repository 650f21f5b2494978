"""A Kubernetes API spoken to from this machine, and a server for agents that runs on it.

No kubectl: in an emulated guest it takes seconds to start, and memory that the guest may not have.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = "10.0.2.2"
"""This machine, as a guest in QEMU's user network sees it."""
SECONDS = 60.0


class Api:
    """An HTTPS server of Kubernetes on a port of this machine, with a client's certificate."""

    def __init__(self, port: int, *, ca: Path, cert: Path, key: Path) -> None:
        self._context = ssl.create_default_context(cafile=str(ca))
        # An older form of certificate is none of this program's business.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._context.load_cert_chain(cert, key)
        self._port = port
        self._connection: http.client.HTTPSConnection | None = None

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError or HTTPException when there is none."""
        if self._connection is not None:
            # The server may have closed a connection that was idle for minutes.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._call(method, path, body)
        return self._call(method, path, body)

    def _call(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, timeout=SECONDS, context=self._context
            )
        try:
            data = None if body is None else json.dumps(body)
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise

    def get(self, path: str) -> Any:
        """An object; None while there is none, or nobody who answers."""
        try:
            status, body = self.call("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body) if status == http.client.OK else None

    def latency(self, path: str) -> float:
        """Milliseconds until a GET is answered with success. Raises OSError when it is not."""
        began = time.monotonic()
        status, _ = self.call("GET", path)
        if status != http.client.OK:
            raise OSError(f"GET {path}: status {status}")
        return (time.monotonic() - began) * 1000

    def node_is_ready(self, name: str, boot_id: str) -> bool:
        """Whether the kubelet of this boot has said that the node is Ready."""
        status = (self.get(f"/api/v1/nodes/{name}") or {}).get("status") or {}
        told = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        boot = (status.get("nodeInfo") or {}).get("bootID")
        return told.get("Ready") == "True" and boot == boot_id

    def pod(self, name: str) -> dict[str, Any]:
        """A pod of the default namespace; empty when there is none."""
        return dict(self.get(f"/api/v1/namespaces/default/pods/{name}") or {})


def with_certificates(port: int, tls: Path, client: str = "client-admin") -> Api:
    """The API behind a port, with the files of a K3s server's directory `server/tls`."""
    return Api(
        port, ca=tls / "server-ca.crt", cert=tls / f"{client}.crt", key=tls / f"{client}.key"
    )


@contextlib.contextmanager
def server(k3s: Path, directory: Path, *, port: int, token: str) -> Iterator[Path]:
    """Run the stand-in on this machine as a server without a node; its `server/tls`."""
    data = directory / "server-data"
    log = directory / "server.log"
    argv: list[str | Path] = [
        k3s, "server", "--disable-agent", "--data-dir", data, "--token", token,
        "--https-listen-port", str(port), "--bind-address", "127.0.0.1",
        "--advertise-address", HOST, "--tls-san", HOST, "--node-ip", HOST,
        "--write-kubeconfig", directory / "kubeconfig",
    ]  # fmt: skip
    with log.open("wb") as file, subprocess.Popen(argv, stdout=file, stderr=file) as process:
        try:
            tls = data / "server/tls"
            deadline = time.monotonic() + 300
            while not (tls / "client-admin.key").exists() or not _ready(port, tls):
                said = log.read_text(errors="replace")[-2000:]
                assert process.poll() is None and time.monotonic() < deadline, said
                time.sleep(1)
            yield tls
        finally:
            process.terminate()


def _ready(port: int, tls: Path) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return with_certificates(port, tls).call("GET", "/readyz")[0] == http.client.OK
    return False
