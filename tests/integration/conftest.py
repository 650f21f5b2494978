"""What these tests share: a real server on this machine, and a cache with the default inputs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg import fetch
from edgeimg.cache.store import Store
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.tools import Toolbox

from tests.integration.archive import Archive
from tests.integration.fileserver import FileServer

LONGEST = (
    "test_release.py",
    "test_remote_cache.py",
    "test_failures.py",
    "test_docs.py",
    "test_ci_script.py",
    "test_flash.py",
    "test_upgrade.py",
    "test_package.py",
    "test_mirror.py",
    "test_vendor_kernel.py",
)
"""Files that take long, the longest first: workers end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


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


@pytest.fixture(scope="module")
def archive_key() -> Iterator[Path]:
    """GnuPG's home with the key that signs a package archive of the tests (archive.py).

    The agent listens on a socket whose path must be short.
    """
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        Archive(None, Path(home)).make_key()  # type: ignore[arg-type]
        yield Path(home)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
