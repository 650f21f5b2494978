"""Downloads: compared with their digest, on the disk before they get a name, fetched again."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.cache.store import Store
from edgeimg.errors import DamageError, DigestError, FetchError, LockError
from edgeimg.fetch import Download, fetch, fetch_file, http, read, transfer
from edgeimg.progress import Silent

from tests.integration.fileserver import FileServer

CONTENT = bytes(range(256)) * 512
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(transfer, "BACKOFF", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FileServer() as server:
        server.files["/thing"] = CONTENT
        yield server


def want(server: FileServer, size: int | None = len(CONTENT)) -> Download:
    return Download("thing", SHA256, size, (f"{server.url}/thing",))


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_other_bytes_are_never_published(
    server: FileServer, tmp_path: Path, size: int | None
) -> None:
    store = Store(tmp_path)
    for offset in (0, len(CONTENT) // 2, len(CONTENT) - 1):
        data = bytearray(CONTENT)
        data[offset] ^= 1
        server.files["/thing"] = bytes(data)
        with pytest.raises(DigestError, match="its sha256 is"):
            fetch([want(server, size)], store, offline=False)
        assert not store.has_blob(SHA256)
    server.files["/thing"] = CONTENT
    fetch([want(server, size)], store, offline=False)
    assert store.blob(SHA256).read_bytes() == CONTENT


def test_a_download_is_on_the_disk_before_it_gets_its_name(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave a whole name with half a file."""
    store = Store(tmp_path)
    synced: dict[int, int] = {}

    def fsync(number: int) -> None:
        facts = os.fstat(number)
        synced[facts.st_ino] = facts.st_size
        assert not store.has_blob(SHA256)

    monkeypatch.setattr(os, "fsync", fsync)
    fetch([want(server)], store, offline=False)
    assert synced[store.blob(SHA256).stat().st_ino] == len(CONTENT)


def test_a_damaged_download_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    store, progress = Store(tmp_path), Notes()
    blob = fetch_file(want(server), store, offline=False, progress=progress)
    for damaged in (CONTENT[:-1], b"", CONTENT[:-1] + b"x", CONTENT + b"x"):
        blob.write_bytes(damaged)
        again = fetch_file(want(server), store, offline=False, progress=progress)
        assert again.read_bytes() == CONTENT
    assert len(server.log) == 5
    assert len(progress.notes) == 4
    assert all("thing in the cache" in note for note in progress.notes)
    fetch_file(want(server), store, offline=True, progress=progress)
    assert len(server.log) == 5


def test_offline_a_damaged_download_is_one_clear_error(server: FileServer, tmp_path: Path) -> None:
    store, progress = Store(tmp_path), Notes()
    fetch_file(want(server), store, offline=False, progress=progress).write_bytes(b"other")
    with pytest.raises(DamageError, match=r"thing in the cache .* damaged") as caught:
        fetch_file(want(server), store, offline=True, progress=progress)
    assert "--offline" in str(caught.value.hint)
    assert progress.notes == []
    with pytest.raises(FetchError, match="offline, but 1 of 1"):
        fetch_file(want(server), store, offline=True, progress=progress)


def test_a_download_that_the_lock_sizes_wrongly_is_refused(
    server: FileServer, tmp_path: Path
) -> None:
    """It may be in the cache already, where no server's answer is compared with the size."""
    store = Store(tmp_path)
    fetch_file(want(server, None), store, offline=False, progress=Silent())
    for size in (len(CONTENT) - 1, len(CONTENT) + 1, 99 << 30):
        with pytest.raises(LockError, match=f"the lock names {size}"):
            fetch_file(want(server, size), store, offline=True, progress=Silent())
    assert store.has_blob(SHA256)


def test_an_index_that_is_not_there_is_asked_for_once(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http.time, "sleep", pauses.append)
    urls = [f"{server.url}/{name}" for name in ("absent", "busy", "thing")]
    server.files["/busy"] = b"busy"
    server.faults["/busy"] = [503] * http.TRIES
    assert read(urls, limit=1 << 20, name="thing") == CONTENT
    asked = [path for path, _ in server.log]
    assert asked == ["/absent", *["/busy"] * http.TRIES, "/thing"]
    assert pauses == [http.BACKOFF * 2**attempt for attempt in range(http.TRIES - 1)]
    with pytest.raises(FetchError) as raised:
        read(urls[:1], limit=1 << 20, name="thing")
    assert raised.value.message.count("/absent") == 1


@pytest.mark.parametrize(("limit", "workers"), [(resource.RLIM_INFINITY, 8), (1 << 30, 2), (1, 1)])
def test_a_limit_of_the_address_space_leaves_fewer_workers(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, workers: int
) -> None:
    """glibc reserves 128 MiB for each thread: under 1 GiB not all eight would start."""

    def start(thread: threading.Thread) -> None:
        started.append(thread.name)
        original(thread)

    started: list[str] = []
    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    absent = [Download("x", f"{number:064x}", None, (server.url,)) for number in range(30)]
    with pytest.raises(FetchError):
        fetch(absent, Store(tmp_path), offline=False)
    assert sum(name.startswith("fetch-") for name in started) == workers


def test_a_host_without_threads_is_one_line(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a worker starts and the thread of its deadline does not."""

    def start(thread: threading.Thread) -> None:
        if thread.name == "deadline":
            raise RuntimeError("can't start new thread")
        original(thread)

    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="start new thread"):
        fetch([want(server)], Store(tmp_path), offline=False)
