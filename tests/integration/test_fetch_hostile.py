"""Servers that send anything: the next mirror is asked, and every transfer ends."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg import fetch as downloads
from edgeimg.cache.store import Store
from edgeimg.errors import FetchError
from edgeimg.fetch import Download, api, fetch, http, session, shared_cache, transfer
from edgeimg.fetch.api import Api
from edgeimg.fetch.shared_address import Address
from edgeimg.fetch.shared_cache import SharedCache

from tests.integration.fileserver import FileServer

pytestmark = pytest.mark.integration
CONTENT = b"content\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[bytes, float], str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    monkeypatch.setattr(transfer, "BACKOFF", 0.01)
    monkeypatch.setattr(api, "BACKOFF", 0.01)
    monkeypatch.setattr(session, "PATIENCE", 1.5)
    monkeypatch.setattr(shared_cache, "PATIENCE", 1.5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers every request with the same bytes, then one more every `pause` s."""
    ended = threading.Event()
    listeners = []

    def answer(connection: socket.socket, head: bytes, pause: float) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(head)
                while pause and not ended.wait(pause):
                    connection.sendall(head[-1:])
            except OSError:
                pass

    def listen(head: bytes, pause: float) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection, head, pause), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/x"

    yield listen
    ended.set()
    for listener in listeners:
        listener.close()


def no_file(*headers: bytes, status: bytes = b"HTTP/1.1 503 Busy") -> bytes:
    return b"\r\n".join([status, *headers, b"Content-Length: 0", b"Connection: close", b"", b""])


def elsewhere(location: bytes) -> bytes:
    return no_file(b"Location: " + location, status=b"HTTP/1.1 302 Found")


NONSENSE = {
    "retry-after-superscript": no_file(b"Retry-After: \xb2"),
    "retry-after-digits": no_file(b"Retry-After: " + b"9" * 5000, status=b"HTTP/1.1 404 No"),
    "length-superscript": OK + b"Content-Length: \xb2\r\n\r\n",
    "length-digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\nConnection: close\r\n\r\n",
    "length-two": OK + b"Content-Length: 1, 2\r\n\r\n",
    "redirect-bracket": elsewhere(b"http://[::1"),
    "redirect-dot": elsewhere(b"http://.a/"),
    "redirect-label": elsewhere(b"http://" + b"a" * 70 + b".example/"),
    "redirect-byte": elsewhere(b"http://\xff/"),
    "redirect-port": elsewhere(b"http://a:99999999/"),
    "redirect-file": elsewhere(b"file:///etc/passwd"),
    "cookie": no_file(
        b"Set-Cookie: a=b; expires=Mon, 99 Foo 99999999999 99:99:99 GMT",
        status=b"HTTP/1.1 404 No",
    ),
    "status": b"HTTP/1.1 abc\r\n\r\n",
    "no-http": b"\0\1\2\3" * 100,
    "chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\nno gzip",
    "header": OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    "encodings": OK + b"Content-Encoding: " + b", ".join([b"gzip"] * 3000) + b"\r\n\r\nabc",
    "bomb": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(64 << 20)),
    "chunk-negative": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
    "chunk-digits": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\nabc",
    "range": b"HTTP/1.1 206 Part\r\nContent-Range: \xff\xb2\r\nContent-Length: 3\r\n\r\nabc",
    "status-digits": b"HTTP/1.1 999999 x\r\nContent-Length: 0\r\n\r\n",
    "switch": b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_means_the_next_mirror(
    serve: Serve, server: FileServer, tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder
) -> None:
    server.files["/x"] = CONTENT
    bad, good = serve(NONSENSE[name], 0), f"{server.url}/x"
    store = Store(tmp_path)
    fetch([Download("x", SHA256, len(CONTENT), (bad, good))], store, offline=False)
    assert store.blob(SHA256).read_bytes() == CONTENT
    assert downloads.read([bad, good], limit=1000, name="x") == CONTENT
    downloads.probe_size(bad)  # whatever it is told, it does not raise
    with pytest.raises(FetchError):
        downloads.read([bad], limit=1000, name="x")
    assert [str(warning.message) for warning in recwarn if "cookie" in str(warning.message)] == []


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_a_miss_of_the_shared_cache_and_an_answer_or_error_of_an_api(
    serve: Serve, tmp_path: Path, name: str
) -> None:
    base = serve(NONSENSE[name], 0).removesuffix("/x")
    cache, desk = SharedCache(Address(url=base, writes=True)), Api(base, "user", "password")
    assert not cache.blob(SHA256, len(CONTENT), tmp_path / "blob")
    assert (cache.hits, cache.misses, list(tmp_path.iterdir())) == (0, 1, [])
    cache.put_entry("0" * 64, CONTENT)
    with contextlib.suppress(FetchError):
        assert len(desk.call("GET", "/x").body) <= api.MAX_BYTES
    cache.close()
    desk.close()


TRICKLES = {
    "status": b"HTTP/1.1 200 O",
    "header": OK + b"X: y",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + b"H",
    "body": OK + b"Content-Length: 8\r\n\r\nc",
    "body-without-length": OK + b"Connection: close\r\n\r\nc",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n8\r\nc",
}


@pytest.mark.parametrize("name", TRICKLES)
def test_a_byte_now_and_then_is_not_waited_for(
    serve: Serve, server: FileServer, tmp_path: Path, name: str
) -> None:
    server.files["/x"] = CONTENT
    bad, good = serve(TRICKLES[name], 0.3), f"{server.url}/x"
    started = time.monotonic()
    size = len(CONTENT) if name == "body" else None
    fetch([Download("x", SHA256, size, (bad, good))], Store(tmp_path), offline=False)
    assert downloads.read([bad, good], limit=1000, name="x") == CONTENT
    assert time.monotonic() - started < 10
    with pytest.raises(FetchError, match="slower than") as caught:
        fetch(
            [Download("y", "0" * 64, 1 << 20 if size else None, (bad,))],
            Store(tmp_path),
            offline=False,
        )
    assert "edgeimg lock --update" not in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["status", "header", "continue"])
def test_a_probe_is_not_waited_for(serve: Serve, name: str) -> None:
    started = time.monotonic()
    assert downloads.probe_size(serve(TRICKLES[name], 0.3), timeout=1.0) is None
    assert time.monotonic() - started < 5


def test_a_slow_transfer_that_earns_its_time_is_finished(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(1_000_000)
    server.files["/x"] = content
    server.rate = 300_000
    monkeypatch.setattr(session, "RATE", 100_000.0)
    wanted = Download("x", hashlib.sha256(content).hexdigest(), len(content), (f"{server.url}/x",))
    started = time.monotonic()
    fetch([wanted], Store(tmp_path), offline=False)
    assert time.monotonic() - started > 2 * session.PATIENCE
    assert len(server.log) == 1


def test_connections_are_used_again_and_closed(server: FileServer) -> None:
    server.files["/x"] = CONTENT
    with session.Session() as one:
        for _ in range(3):
            with one.deadline() as deadline, http.get(one, f"{server.url}/x", 0, deadline) as got:
                assert b"".join(http.blocks(got, deadline)) == CONTENT
        assert len(one._lines) == 1
    assert one._lines == []
