"""The order of the boot tests, and the time until which they start.

The default gateway comes first, then the files that take long. A host may emulate three times
slower than another. With EDGEIMG_TEST_BOOT_UNTIL (seconds since 1970) no test starts after that
time, except those of the default gateway. Each test that is left out is reported as skipped.
"""

from __future__ import annotations

import os
import time

import pytest

UNTIL = "EDGEIMG_TEST_BOOT_UNTIL"
ALWAYS = "test_gateway.py"
FIRST = (
    ALWAYS,
    "test_workloads.py",
    "test_recovery.py",
    "test_provision.py",
    "test_updates.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = dict(zip(FIRST, range(len(FIRST)), strict=True))
    items.sort(key=lambda item: names.get(item.path.name, len(FIRST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until = float(os.environ.get(UNTIL, "inf"))
    if item.path.name != ALWAYS and time.time() > until:
        pytest.skip(f"left out: {UNTIL} is over")
