"""What integration tests share: the user's cache, the default lock, and its tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import fetch, lock, mirrors, tools
from builder.lock import Lock
from builder.store import Store, default_root
from builder.tools import Toolbox

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cache() -> Store:
    """The cache of builds: downloads are made once, not once a test."""
    return Store(default_root())


@pytest.fixture(scope="session")
def default_lock() -> Lock:
    return lock.load(PROJECT / "recipes/gateway.lock.toml")


@pytest.fixture(scope="session")
def toolbox(cache: Store, default_lock: Lock) -> Callable[[str], Toolbox]:
    """`toolbox("pack")`: the tools of a group, fetched when they are not in the cache."""

    def prepare(group: str) -> Toolbox:
        host = tools.build_host()
        packages = tools.packages(default_lock, group, host)
        fetch.fetch(fetch.wanted(packages, mirrors.from_host(os.environ)), cache, offline=False)
        return tools.prepare(default_lock, group, cache, host=host)

    return prepare
