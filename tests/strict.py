"""Strict mode: a test that is skipped fails, unless its reason is in the list below.

CI sets it (tests/levels.py, `--strict`), so that a missing program never hides a test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

from tests import late

VARIABLE = "EDGEIMG_TEST_STRICT"
ALLOWED = (
    # Long runs, which a variable asks for.
    r"asked for with EDGEIMG_TEST_",
    r"built; to boot it as well, EDGEIMG_TEST_",
    # The closing lines of the run list them.
    re.escape(late.LEFT_OUT),
    # A container has the devices and rights that its host gives it; no package adds them.
    r"needs root, loop devices",
    r"needs root, FUSE",
    r"this host gives no user namespaces",
    # systemd-analyze loads the libraries of the image it looks at: both have one architecture.
    r"the default image of this host's architecture is needed",
)
"""Reasons of skipped tests that are no gap, as the beginning of what pytest reports."""


def forbidden(reason: str) -> bool:
    """Whether strict mode is on, and a test must not be skipped for this reason."""
    strict = os.environ.get(VARIABLE) == "1"
    return strict and not any(re.match(allowed, reason) for allowed in ALLOWED)


def fail_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn the report of a forbidden skip into a failure."""
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if forbidden(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped in strict mode: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_when_skipped(report)
    return report
