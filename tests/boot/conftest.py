"""The order of the boot tests: files that take long begin first, so both guests stay busy."""

from __future__ import annotations

import pytest

LONG = ("test_workloads.py", "test_recovery.py", "test_gateway.py", "test_provision.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = dict(zip(LONG, range(len(LONG)), strict=True))
    items.sort(key=lambda item: names.get(item.path.name, len(LONG)))
