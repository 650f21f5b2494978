"""What a guest tells of its writes at rest, and what the budget makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from edgeimg.smoke import wear

MIB = 1 << 20


def report(**changes: Any) -> dict[str, Any]:
    rest = {
        "event": "rest", "since": 100.5, "until": 160.5, "bytes": MIB,
        "writers": {"systemd-journal": 100 * 1024, "k3s": 512 * 1024, "sh": 1, "dropbear": 4096},
        **changes,
    }  # fmt: skip
    return {"rest": rest}


def test_a_window_is_extrapolated_to_an_hour() -> None:
    rest = wear.measurement(report())
    assert rest is not None
    assert rest.hourly == 60 * MIB
    assert [name for name, _ in rest.writers] == ["k3s", "systemd-journal", "dropbear", "sh"]


def test_within_the_budget_passes() -> None:
    assert wear.judge(report(), 60 * MIB).failure == ""


def test_beyond_the_budget_fails_and_names_who_writes() -> None:
    failure = wear.judge(report(), 60 * MIB - 1).failure
    assert "60.0 MiB an hour, expected at most 60.0" in failure
    assert "k3s 30.0 MiB, systemd-journal 5.9 MiB, dropbear 0.2 MiB." in failure
    assert "sh " not in failure


def test_nobody_who_writes_is_no_crash() -> None:
    assert "Most by: nobody" in wear.judge(report(writers={}), 1).failure


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"rest": {}},
        {"rest": None},
        report(until=100.5),
        report(until=110.0),
        report(bytes=-512),
        report(writers=7),
        report(bytes="many"),
    ],
    ids=["none", "empty", "null", "no time", "too short", "negative", "no table", "no number"],
)
def test_what_makes_no_sense_is_not_a_measurement(told: dict[str, Any]) -> None:
    assert wear.measurement(told) is None
    assert "did not measure" in wear.judge(told, 1 << 40).failure
