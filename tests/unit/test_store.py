"""The cache: results appear whole or not at all, whoever makes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from builder.errors import HostError
from builder.store import Store, disk_errors, key


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
    assert not [p for p in (tmp_path / "partial").iterdir() if p.suffix != ".lock"]


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
    _slow(tmp_path)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(HostError, match="no space left"), disk_errors(tmp_path):
        os.write(full, b"x")
    os.close(full)
