"""The order of the boot tests: the default gateway, then files that take long."""

from __future__ import annotations

import pytest

FIRST = (
    "test_gateway.py",
    "test_workloads.py",
    "test_recovery.py",
    "test_provision.py",
    "test_updates.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = dict(zip(FIRST, range(len(FIRST)), strict=True))
    items.sort(key=lambda item: names.get(item.path.name, len(FIRST)))
