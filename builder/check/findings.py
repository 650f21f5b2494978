"""What a check found: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import CheckError

Severity = Literal["error", "warning"]


@dataclass(frozen=True, order=True)
class Finding:
    """One defect of an image."""

    check: str
    severity: Severity
    path: str
    """Path in the image without the leading `/`, or the recipe's key."""
    message: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.fix})" if self.fix else "")


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that make a build fail."""
    return [finding for finding in findings if finding.severity == "error"]


def refuse(findings: Iterable[Finding]) -> None:
    """Raise CheckError that lists every error among the findings; warnings pass."""
    found = errors(findings)
    if found:
        plural = "s" if len(found) > 1 else ""
        lines = [f"{len(found)} error{plural} found in the image", *map(str, found)]
        raise CheckError(
            "\n  ".join(lines), hint="`edgeimg check` tells all that is wrong, sizes included"
        )
