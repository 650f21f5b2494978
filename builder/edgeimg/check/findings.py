"""Result of a check: place, message, and fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeimg.errors import CheckError
from edgeimg.recipe.rules import RULES, Severity

__all__ = ["Finding", "Severity", "errors", "finding", "refuse"]


@dataclass(frozen=True, order=True)
class Finding:
    """One defect of an image."""

    check: str
    severity: Severity
    path: str
    """Path in the image without the leading `/`, or the recipe's key."""
    message: str
    fix: str = ""
    rule: str = ""
    """The kind of defect, by its name in edgeimg.recipe.rules."""
    item: str = ""
    """What in `path` it is about, where there is more than one: an option, a member, a port."""
    source: str = ""
    """The file of the project that brought `path`, where it is one: of an overlay."""
    line: int = 0
    """The line of the file, counted from 1, where it is a text."""

    @property
    def place(self) -> str:
        """Where it is: `path`, or `path#item`."""
        return f"{self.path}#{self.item}" if self.item else self.path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.fix})" if self.fix else "")


def finding(
    rule: str, path: str, message: str, fix: str = "", *, item: str = "", line: int = 0
) -> Finding:
    """A finding with the family and the severity of its rule."""
    properties = RULES[rule]
    return Finding(properties.check, properties.severity, path, message, fix, rule, item, line=line)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that make a build fail."""
    return [finding for finding in findings if finding.severity == "error"]


def refuse(findings: Iterable[Finding]) -> None:
    """Raise CheckError that lists every error among the findings; warnings pass."""
    error_list = errors(findings)
    if error_list:
        plural = "s" if len(error_list) > 1 else ""
        lines = [f"{len(error_list)} error{plural} found in the image", *map(str, error_list)]
        rules = [RULES.get(item.rule) for item in error_list]
        hint = "`edgeimg check` lists all findings, sizes included"
        if all(rule is not None and rule.acceptable for rule in rules):
            hint = "add intended findings to [check] accept of the recipe, as 'RULE:PLACE'"
        raise CheckError("\n  ".join(lines), hint=hint)
