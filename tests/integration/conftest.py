"""What these tests share: a real server on this machine, and a cache with the default inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from edgeimg import fetch
from edgeimg.cache.store import Store
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.tools import Toolbox

from tests.integration.fileserver import FileServer


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A local HTTP server; see FileServer for how to make it misbehave."""
    with FileServer() as running:
        yield running


@pytest.fixture(scope="session")
def downloads(cache: Store, default_lock: Lock, toolbox: Callable[[str], Toolbox]) -> None:
    """The user's cache has the tools and x86-64's packages: whoever uses this downloads nothing."""
    toolbox("pack")
    toolbox("qemu")
    packages = default_lock.images["x86-64"].packages()
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
