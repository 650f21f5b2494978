"""The order of the boot tests: what must never be left out, then files that take long.

None begins after the time in EDGEIMG_TEST_DEADLINE (seconds since 1970; see tests/levels.py).
"""

from __future__ import annotations

import os
import time

import pytest

FIRST = ("test_gateway.py", "test_workloads.py", "test_recovery.py", "test_provision.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = dict(zip(FIRST, range(len(FIRST)), strict=True))
    items.sort(key=lambda item: names.get(item.path.name, len(FIRST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    del item
    deadline = os.environ.get("EDGEIMG_TEST_DEADLINE")
    if deadline and time.time() > float(deadline):
        pytest.skip("out of time: see CI_SECONDS in tests/levels.py")
