"""The cache: results appear whole or not at all, whoever makes them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from edgeimg.cache import seal
from edgeimg.cache.store import Store, disk_errors, key, write_whole
from edgeimg.errors import DamageError, DigestError, HostError, LockError, ToolError
from edgeimg.progress import Silent


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


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def make_tree(path: Path) -> None:
    (path / "usr/bin").mkdir(parents=True)
    (path / "usr/bin/tool").write_bytes(b"#!/bin/sh\n" * 100)
    (path / "usr/bin/tool").chmod(0o755)
    (path / "usr/bin/other").write_bytes(b"other")
    (path / "bin").symlink_to("usr/bin")


def make_file(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def flip(path: Path, offset: int) -> None:
    """One bit, as a bad disk would: no time stamp tells."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def forget() -> None:
    """What a new process knows."""
    seal._states.clear()


def change_mode(result: Path) -> None:
    (result / "usr/bin/tool").chmod(0o644)


def change_link(result: Path) -> None:
    (result / "bin").unlink()
    (result / "bin").symlink_to("usr/bim")


def swap(result: Path) -> None:
    (result / "usr/bin/other").rename(result / "x")
    (result / "usr/bin/tool").rename(result / "usr/bin/other")
    (result / "x").rename(result / "usr/bin/tool")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte": lambda result: flip(result / "usr/bin/tool", 0),
    "last byte": lambda result: flip(result / "usr/bin/tool", 999),
    "mode": change_mode,
    "link": change_link,
    "gone": lambda result: (result / "usr/bin/other").unlink(),
    "new": lambda result: (result / "usr/lib").mkdir(),
    "truncated": lambda result: os.truncate(result / "usr/bin/tool", 999),
    "swapped": swap,
    "its digest": lambda result: flip(seal.place(result), 5),
    "no digest": lambda result: seal.place(result).unlink(),
    "half a digest": lambda result: os.truncate(seal.place(result), 10),
    "not a text": lambda result: seal.place(result).write_bytes(b"\xff" * 64),
}


@pytest.mark.parametrize("fresh", [True, False], ids=["next process", "same process"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_made_again(tmp_path: Path, damage: str, *, fresh: bool) -> None:
    progress = Notes()
    store = Store(tmp_path, progress)
    result = store.derived("k", make_tree)
    whole = seal.digest(result)
    if fresh:
        forget()
    DAMAGES[damage](result)
    if "digest" in damage or damage == "not a text":  # asked for by new processes only
        forget()
    assert seal.digest(store.derived("k", make_tree)) == whole
    assert len(progress.notes) == (damage != "no digest")
    assert all("damaged" in note and str(result) in note for note in progress.notes)
    forget()
    store.derived("k", lambda _: pytest.fail("it is whole again"))
    assert not list((tmp_path / "partial").iterdir())


def test_every_flipped_bit_of_a_file_is_noticed(tmp_path: Path) -> None:
    progress = Notes()
    store = Store(tmp_path, progress)
    result = store.derived("k", make_file)
    for offset in range(0, 4096, 111):
        flip(result, offset)
        forget()
        assert store.derived("k", make_file).read_bytes() == bytes(range(256)) * 16
    assert len(progress.notes) == len(range(0, 4096, 111))


def test_a_result_is_hashed_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    digest = seal.digest
    monkeypatch.setattr(seal, "digest", lambda path: hashed.append(path) or digest(path))
    store = Store(tmp_path)
    result = store.derived("k", make_tree)
    forget()
    hashed.clear()
    for _ in range(3):
        store.derived("k", make_tree)
    assert hashed == [result]


def test_what_time_stamps_say_is_not_believed(tmp_path: Path) -> None:
    """Nothing but the bytes counts for the next process, and nothing but bytes is damage."""
    store = Store(tmp_path)
    result = store.derived("k", make_tree)
    for path in (result, result / "usr/bin/tool"):
        os.utime(path, (1, 1))
    forget()
    store.derived("k", lambda _: pytest.fail("it is whole"))


def test_a_link_to_a_result_of_another_cache_is_checked_there(tmp_path: Path) -> None:
    progress = Notes()
    shared, own = Store(tmp_path / "shared"), Store(tmp_path / "own", progress)
    result = shared.derived("k", make_tree)
    own.results.mkdir(parents=True)
    (own.results / "k").symlink_to(result)
    assert own.derived("k", lambda _: pytest.fail("it is whole")) == own.results / "k"
    flip(result / "usr/bin/tool", 7)
    forget()
    made = own.derived("k", make_tree)
    assert not made.is_symlink()
    assert made.is_dir()
    assert len(progress.notes) == 1
    assert seal.holds(made)
    assert not seal.holds(result)


def test_a_damaged_result_that_cannot_be_made_is_never_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    flip(store.derived("k", make_tree) / "usr/bin/tool", 7)
    forget()

    def fail(_: Path) -> None:
        raise HostError("not now")

    for _ in range(2):
        with pytest.raises(HostError, match="not now"):
            store.derived("k", fail)


def test_digests_of_results_that_are_gone_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = seal.place(store.derived("kept", make_file))
    gone = store.derived("gone", make_file)
    gone.unlink()
    store.sweep()
    assert list((tmp_path / "digests").iterdir()) == [kept]


def test_the_size_of_an_input_is_that_of_the_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "blobs").mkdir()
    digest = hashlib.sha256(b"right").hexdigest()
    store.blob(digest).write_bytes(b"right")
    assert store.checked_blob(digest, "a thing", 5)
    for size in (0, 4, 6):
        with pytest.raises(LockError, match=f"a thing has 5 bytes.*{size}"):
            store.checked_blob(digest, "a thing", size)
    assert store.has_blob(digest)
    store.blob(digest).write_bytes(b"wrong size")
    with pytest.raises(DamageError):
        store.checked_blob(digest, "a thing", 5)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(HostError, match="no space left"), disk_errors(tmp_path):
        os.write(full, b"x")
    os.close(full)


@pytest.mark.parametrize(("free", "error"), [(1 << 19, HostError), (1 << 21, ToolError)])
def test_a_tool_that_fails_on_a_full_disk_failed_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, error: type[Exception]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(error), disk_errors(tmp_path):
        raise ToolError("zstd failed")


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
