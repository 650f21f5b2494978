"""What a check has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import CheckError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One observation of a check."""

    check: str
    """Which check: `elf`, `size`, …"""
    severity: Literal["error", "warning"]
    path: str
    """The file or thing it is about."""
    message: str
    fix: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def refuse(findings: Iterable[Finding]) -> None:
    """Raise CheckError that lists every error among the findings; warnings pass."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    lines = [f"{len(errors)} errors found in the image", *map(str, errors)]
    fixes = dict.fromkeys(finding.fix for finding in errors if finding.fix)
    raise CheckError("\n  ".join(lines), hint="; ".join(fixes) or None)
