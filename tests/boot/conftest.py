"""The order of the boot tests, the worker of each, and the time until which they start.

The default gateway comes first, the slowest architecture before the others, then the files that
take long. A file's tests share a guest and run on one worker (`--dist loadfile`). Those of the
default gateway share none between architectures and run on one worker for each.

With a time limit (tests/late.py) no test starts after it, except those of the default gateway of
x86-64. Each test that is left out is reported as skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests import late

TIMEOUT = 2400
"""Seconds of a test that boots guests, on a host that emulates slowly."""
HERE = Path(__file__).parent
ALWAYS = "test_gateway.py"
# A worker has the next file in advance: the one with the slowest boot gets another's.
FIRST = (
    f"{ALWAYS} {ARM.name}",
    f"{ALWAYS} {ARM64.name}",
    "test_workloads.py",
    f"{ALWAYS} {X86_64.name}",
    "test_recovery.py",
    "test_provision.py",
    "test_updates.py",
)


def group(nodeid: str) -> str:
    """The tests that run on one worker, one after another."""
    name = nodeid.partition("::")[0].rpartition("/")[2]
    if name != ALWAYS:
        return name
    arch = nodeid.partition("[")[2].removesuffix("]") or X86_64.name
    return f"{name} {arch}"


class ByGuest(LoadFileScheduling):
    """Files to workers, and the default gateway by architecture."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGuest | None:
    return ByGuest(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(
        key=lambda item: (
            place.get(group(item.nodeid), len(FIRST)) if item.path.parent == HERE else -1
        )
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if late.is_over() and group(item.nodeid) != f"{ALWAYS} {X86_64.name}":
        pytest.skip(late.LEFT_OUT)
