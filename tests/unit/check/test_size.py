"""Size budgets: one byte too many is an error that says what grew."""

from __future__ import annotations

import pytest
from edgeimg.check.size import Sizes, check, enforce, table
from edgeimg.errors import BudgetError
from edgeimg.recipe.tables import Budget

MEASURED = Sizes(
    parts={"download": 1000, "root": 5000, "initrd": 70},
    components={"k3s": 3000, "package:systemd": 1500, "new": 5, "edgeimg": 10},
)
PREVIOUS = Sizes(
    parts={"download": 900, "root": 4400, "initrd": 70},
    components={"k3s": 2500, "package:systemd": 1600, "edgeimg": 10, "gone": 99},
)


def test_exactly_the_budget_is_fine() -> None:
    budget = Budget(download=1000, root=5000, initrd=70, components={"k3s": 3000})
    assert check(budget, MEASURED) == []
    assert enforce(budget, MEASURED, PREVIOUS) == []


@pytest.mark.parametrize(
    ("budget", "path"),
    [
        (Budget(download=999), "budget.download"),
        (Budget(root=4999), "budget.root"),
        (Budget(initrd=69), "budget.initrd"),
        (Budget(components={"package:systemd": 1499}), "budget.components.package:systemd"),
    ],
)
def test_one_byte_too_many(budget: Budget, path: str) -> None:
    (finding,) = check(budget, MEASURED)
    assert finding.path == path
    assert finding.severity == "error"
    assert "1 more than the budget" in finding.message


def test_a_part_that_was_not_measured_has_no_say() -> None:
    assert check(Budget(uki=1), MEASURED) == []


def test_growth_is_told() -> None:
    (finding,) = check(Budget(root=4999), MEASURED, PREVIOUS)
    assert "+600 since the last build" in finding.message


def test_a_budget_on_nothing_is_a_warning() -> None:
    (finding,) = check(Budget(components={"k4s": 1}), MEASURED)
    assert (finding.severity, finding.path) == ("warning", "budget.components.k4s")


def test_every_excess_and_what_grew_is_in_one_error() -> None:
    with pytest.raises(BudgetError) as caught:
        enforce(Budget(download=1, root=2), MEASURED, PREVIOUS)
    lines = caught.value.message.splitlines()
    assert sum("more than the budget" in line for line in lines) == 2
    grown = [line.split() for line in lines if line.startswith("    ")]
    assert grown == [["k3s", "3,000", "+500"], ["new", "5", "+5"]]


def test_without_an_earlier_build_the_largest_are_shown() -> None:
    assert [line.split()[0] for line in table(MEASURED)[1:]] == [
        "k3s",
        "package:systemd",
        "edgeimg",
        "new",
    ]


def test_long_tables_are_cut() -> None:
    many = Sizes(parts={}, components={f"c{n:03}": n for n in range(30)})
    assert table(many)[-1].strip() == "and 10 more"
