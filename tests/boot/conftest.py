"""The order of the boot tests, the worker of each, and the time until which they start.

The default gateway comes first, the slowest architecture before the others, then the files that
take long. A file's tests share a guest and run on one worker (`--dist loadgroup`). Those of the
default gateway share none and run on one worker for each architecture.

A host may emulate three times slower than another. With EDGEIMG_TEST_BOOT_UNTIL (seconds since
1970) no test starts after that time, except those of the default gateway. Each test that is left
out is reported as skipped.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch

UNTIL = "EDGEIMG_TEST_BOOT_UNTIL"
HERE = Path(__file__).parent
ALWAYS = "test_gateway.py"
FIRST = (
    f"{ALWAYS} {ARM.name}",
    f"{ALWAYS} {ARM64.name}",
    f"{ALWAYS} {X86_64.name}",
    "test_workloads.py",
    "test_recovery.py",
    "test_provision.py",
    "test_updates.py",
)


def group(item: pytest.Item) -> str:
    """The tests that run on one worker, one after another."""
    if item.path.name != ALWAYS:
        return item.path.name
    parameters = getattr(item, "callspec", None)
    arch = parameters.params["arch"] if parameters else X86_64
    assert isinstance(arch, Arch)
    return f"{ALWAYS} {arch.name}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(FIRST)}
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(
        key=lambda item: place.get(group(item), len(FIRST)) if item.path.parent == HERE else -1
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until = float(os.environ.get(UNTIL, "inf"))
    if item.path.name != ALWAYS and time.time() > until:
        pytest.skip(f"left out: {UNTIL} is over")
