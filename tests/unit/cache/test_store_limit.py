"""The cache does not grow for ever, and nothing that may be in use is taken away."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from edgeimg.cache import limit
from edgeimg.cache.store import Store
from edgeimg.errors import HostError

MIB = 1 << 20
DAY = 86400.0


def result(store: Store, name: str, age: float, size: int = MIB) -> Path:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "inner").mkdir()
        (path / "inner/file").write_bytes(os.urandom(size))

    made = store.derived(name, make)
    os.utime(made, (time.time() - age,) * 2)
    return made


def names(store: Store) -> list[str]:
    return sorted(path.name for path in store.results.iterdir())


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, age in (("new", 1), ("old", 3), ("older", 5)):
        result(store, name, age * DAY)
    freed = limit.trim(store.results, 5 * MIB // 2)
    assert names(store) == ["new", "old"]
    assert freed >= MIB
    assert limit.trim(store.results, 5 * MIB // 2) == 0


def test_to_be_asked_for_is_to_be_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, age in (("a", 3), ("b", 2)):
        result(store, name, age * DAY)
    store.derived("a", lambda _: pytest.fail("it is there"))
    limit.trim(store.results, 3 * MIB // 2)
    assert names(store) == ["a"]


def test_what_may_be_in_use_stays_even_beyond_the_limit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result(store, "running", 3600.0)
    result(store, "stale", 2 * DAY)
    limit.trim(store.results, 0)
    assert names(store) == ["running"]


def test_a_removal_that_was_killed_is_finished_the_next_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result(store, "x", 2 * DAY).rename(store.results / ".x.doomed")
    limit.trim(store.results, 0)
    assert names(store) == []


def test_usage_is_what_du_says(tmp_path: Path) -> None:
    made = result(Store(tmp_path), "x", 0)
    (made / "link").symlink_to("/usr")
    with (made / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    told = subprocess.check_output(["du", "--block-size=1", "-s", made], text=True)
    inodes = 2 * 4096  # the directories' own
    assert 0 <= int(told.split()[0]) - limit.usage(made) <= inodes
    (full := made / "file").write_bytes(bytes(10_000))
    assert limit.usage(full) == full.lstat().st_blocks * 512


@pytest.mark.parametrize(("said", "meant"), [("", limit.DEFAULT), ("3 GiB", 3 << 30)])
def test_the_limit_is_a_size(monkeypatch: pytest.MonkeyPatch, said: str, meant: int) -> None:
    monkeypatch.setenv(limit.VARIABLE, said)
    assert limit.limit() == meant


def test_a_limit_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limit.VARIABLE, "much")
    with pytest.raises(HostError, match=r"EDGEIMG_CACHE_LIMIT='much': expected a size such as"):
        limit.limit()
