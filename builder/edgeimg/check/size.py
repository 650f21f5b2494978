"""Checks the sizes of an image against its recipe's budgets, and shows what grew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeimg.check.findings import Finding, errors
from edgeimg.errors import BudgetError
from edgeimg.recipe.tables import Budget

PARTS = ("download", "root", "uki", "initrd")
_MOST_ROWS = 20
_HINT = (
    "take something out ([packages] exclude and prune, [kernel] exclude), or raise [budget] in the "
    "recipe"
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Measured sizes in bytes."""

    parts: Mapping[str, int]
    """By name in PARTS; parts that were not measured are left out."""
    components: Mapping[str, int] = field(default_factory=dict)
    """Content of the root by origin: `k3s`, `package:NAME`, `overlay:NAME`, …"""


def check(budget: Budget, measured: Sizes, previous: Sizes | None = None) -> list[Finding]:
    """One error for every exceeded budget; a warning for one on a component that isn't there.

    `previous` (of the last good build) adds to a message by how much the part has grown.
    """
    limits = {name: limit for name in PARTS if (limit := getattr(budget, name)) is not None}
    findings = _compare(limits, measured.parts, previous.parts if previous else {}, "")
    findings += _compare(
        budget.components,
        measured.components,
        previous.components if previous else {},
        "components.",
    )
    return findings + [
        Finding(
            check="size",
            severity="warning",
            path=f"budget.components.{name}",
            message="there is no such component in the image",
            fix="`edgeimg check --json` lists the components",
            rule="budget",
        )
        for name in sorted(budget.components.keys() - measured.components.keys())
    ]


def refuse(findings: Iterable[Finding]) -> None:
    """Raise BudgetError when an error of `check` is among the findings, which were shown."""
    exceeded = [finding.path for finding in errors(findings) if finding.check == "size"]
    if exceeded:
        raise BudgetError(f"over budget: {', '.join(exceeded)}", hint=_HINT)


def enforce(budget: Budget, measured: Sizes, previous: Sizes | None = None) -> list[Finding]:
    """Raise BudgetError, with a table of what grew, when a budget is exceeded; else warnings."""
    findings = check(budget, measured, previous)
    if exceeded := errors(findings):
        rows = "\n  ".join([*map(str, exceeded), *table(measured, previous)])
        raise BudgetError(f"the image exceeds its budget\n  {rows}", hint=_HINT)
    return findings


def table(measured: Sizes, previous: Sizes | None = None) -> list[str]:
    """Lines of a table: what grew the most since `previous`, else what is largest."""
    old = previous.components if previous else {}
    names = measured.components.keys() | old.keys()
    sizes = {name: (measured.components.get(name, 0), old.get(name, 0)) for name in names}
    if not previous:
        largest = sorted(sizes, key=lambda name: (-sizes[name][0], name))
        return ["largest in the root:", *_rows([(n, sizes[n][0], None) for n in largest])]
    grown = {name: new - before for name, (new, before) in sizes.items() if new > before}
    if not grown:
        return ["nothing in the root has grown since the last build"]
    most = sorted(grown, key=lambda name: (-grown[name], name))
    return ["grown since the last build:", *_rows([(n, sizes[n][0], grown[n]) for n in most])]


def _compare(
    limits: Mapping[str, int], sizes: Mapping[str, int], old: Mapping[str, int], prefix: str
) -> list[Finding]:
    findings = []
    for name, limit in sorted(limits.items()):
        size = sizes.get(name)
        if size is None or size <= limit:
            continue
        since = f", {size - old[name]:+,} since the last build" if name in old else ""
        findings.append(
            Finding(
                check="size",
                severity="error",
                path=f"budget.{prefix}{name}",
                message=f"{size:,} bytes, {size - limit:,} more than the budget of {limit:,}"
                f"{since}",
                rule="budget",
            )
        )
    return findings


def _rows(rows: Sequence[tuple[str, int, int | None]]) -> list[str]:
    visible = rows[:_MOST_ROWS]
    width = max((len(name) for name, _, _ in visible), default=0)
    lines = [
        f"  {name:<{width}} {size:>13,}" + ("" if growth is None else f" {growth:>+13,}")
        for name, size, growth in visible
    ]
    return lines + ([f"  and {len(rows) - len(visible)} more"] if len(rows) > len(visible) else [])
