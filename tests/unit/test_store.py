"""The cache: results appear whole or not at all, whoever makes them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from edgeimg.cache.store import Store, disk_errors, key, write_whole
from edgeimg.errors import DigestError, HostError


def test_derived_is_made_once_and_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    calls: list[Path] = []

    def make(path: Path) -> None:
        calls.append(path)
        path.write_text("x")

    first = store.derived(key("a"), make)
    assert store.derived(key("a"), make) == first
    assert first.read_text() == "x"
    assert len(calls) == 1


def test_a_failed_maker_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def make(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.derived("k", make)
    assert not (tmp_path / "derived").exists() or not list((tmp_path / "derived").iterdir())
    assert not list((tmp_path / "partial").iterdir())


def _slow(root: Path) -> None:
    def make(path: Path) -> None:
        with (root / "calls").open("a") as file:
            file.write(f"{os.getpid()}\n")
        path.write_text("half")
        time.sleep(0.5)
        path.write_text("whole")

    assert Store(root / "cache").derived("k", make).read_text() == "whole"


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_slow, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len((tmp_path / "calls").read_text().split()) == 1


def test_a_killed_maker_leaves_no_final_name_and_no_lock(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_slow, args=(tmp_path,))
    worker.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "calls").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "calls").exists()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    assert not (tmp_path / "cache/derived/k").exists()
    partial = tmp_path / "cache/partial"
    assert len(list(partial.iterdir())) == 2  # its work directory and its lock
    Store(tmp_path / "cache").sweep()
    assert not list(partial.iterdir())
    _slow(tmp_path)


def test_sweeping_spares_work_under_way_and_downloads_to_be_continued(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = time.time() - 30 * 86400
    with store.work("mine") as work, store.lock("held"):
        part, forgotten = store.partial("young.part"), store.partial("old.part")
        for path in (part, forgotten):
            path.write_bytes(b"x")
        os.utime(forgotten, (old, old))
        os.utime(work, (old, old))
        store.sweep()
        assert work.is_dir()
        assert {p.name for p in store.partial("").iterdir()} == {
            work.name, "held.lock", "young.part",
        }  # fmt: skip
    assert not work.exists()


def test_a_changed_input_is_removed_and_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "blobs").mkdir()
    digest = hashlib.sha256(b"right").hexdigest()
    store.blob(digest).write_bytes(b"right")
    assert store.checked_blob(digest, "a thing").read_bytes() == b"right"
    store.blob(digest).write_bytes(b"wrong")
    with pytest.raises(DigestError, match="a thing in the cache"):
        store.checked_blob(digest, "a thing")
    assert not store.has_blob(digest)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(HostError, match="no space left"), disk_errors(tmp_path):
        os.write(full, b"x")
    os.close(full)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    taken = tmp_path / "directory"
    taken.mkdir()
    with pytest.raises(HostError, match="cannot write"):
        write_whole(taken, b"x")
    with pytest.raises(HostError, match="cannot write"):
        write_whole(path / "below", b"x")
    assert sorted(tmp_path.iterdir()) == [taken, path.parent]
