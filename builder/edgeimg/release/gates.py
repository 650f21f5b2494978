"""The gates of a release. Every override is named and recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from edgeimg import builtin, process
from edgeimg.build.plan import BuildPlan
from edgeimg.check.findings import Finding, errors
from edgeimg.errors import (
    BudgetError,
    CheckError,
    EdgeimgError,
    HostError,
    ReleaseError,
    SmokeError,
    ToolError,
)
from edgeimg.image.manifest import Manifest
from edgeimg.recipe.types import Gate
from edgeimg.smoke.smoke import PORTS
from edgeimg.smoke.verdict import Check

GATES: tuple[Gate, ...] = get_args(Gate)
_TIMEOUT = 60.0
_MOST = 20
"""Lines of one message."""
NO_BOOT_KEY = "its boot files are not signed: add --secure-boot-key"
"""The reason when no boot file of an image is signed. `verify` finds it in a release again."""
_ERRORS: dict[Gate, type[EdgeimgError]] = {
    "budget": BudgetError,
    "checks": CheckError,
    "boot": SmokeError,
}
"""Gates with their own exit codes. Other gates raise ReleaseError."""


@dataclass(frozen=True, kw_only=True, order=True)
class Hold:
    """One reason not to release."""

    gate: Gate
    reason: str
    detail: str = field(default="", compare=False)
    """Measured values: printed, but not part of the release, whose bytes must not differ."""

    def to_json(self) -> dict[str, str]:
        """Plain values, for release.json."""
        return {"gate": self.gate, "reason": self.reason}


def of_inputs(plans: Sequence[BuildPlan], files: Sequence[Path], project: Path) -> list[Hold]:
    """Gates that can be judged before the build.

    `files` are the recipe, those that it includes, and its lock.
    """
    holds: list[Hold] = []
    for plan in plans:
        if plan.recipe.k3s.source == "standin":
            holds.append(
                Hold(
                    gate="standin",
                    reason=f"{plan.arch.name}: the K3s inside is the stand-in, not K3s",
                )
            )
        if plan.inputs.unsigned_index:
            holds.append(
                Hold(
                    gate="unsigned-index",
                    reason=f"{plan.arch.name}: packages were locked from an index that did not "
                    "match its signature",
                )
            )
    parts = {builtin.locate(path, project) for plan in plans for path in plan.paths}
    # The lock has the digests of built-in parts.
    paths = [path for path in (*files, *sorted(parts)) if not builtin.contains(path)]
    return holds + _uncommitted(paths, project)


def of_k3s(manifests: Iterable[Manifest]) -> list[Hold]:
    """A stand-in from a file is recognised after it was unpacked."""
    return [
        Hold(
            gate="standin",
            reason=f"{manifest.contents.arch}: the K3s inside is the stand-in, not K3s",
        )
        for manifest in manifests
        if manifest.contents.standin
    ]


def of_missing_boot_key(plans: Iterable[BuildPlan]) -> list[Hold]:
    """Images whose boot files have to be signed, and nobody signs them: known before the build."""
    return [
        Hold(
            gate="unsigned-boot",
            reason=f"{plan.arch.name}: {NO_BOOT_KEY}",
        )
        for plan in plans
    ]


def of_boot_files(arch: str, problems: Iterable[str]) -> list[Hold]:
    """Boot files that the recipe's Secure Boot certificate does not vouch for."""
    return [Hold(gate="unsigned-boot", reason=f"{arch}: {problem}") for problem in problems]


def of_findings(arch: str, findings: Iterable[Finding]) -> list[Hold]:
    """Exceeded budgets, and every other error of the checks."""
    return [
        Hold(
            gate="budget" if finding.check == "size" else "checks",
            reason=f"{arch}: {finding}",
        )
        for finding in errors(findings)
    ]


def of_boot(arch: str, checks: Iterable[Check]) -> list[Hold]:
    """Failed checks of a guest. Open ports are findings: see of_findings."""
    return [
        Hold(gate="boot", reason=f"{arch}: not true: {check.name}", detail=check.failure)
        for check in checks
        if check.failure and check.name != PORTS
    ]


def refuse(holds: Iterable[Hold], allowed: Iterable[Gate]) -> tuple[Hold, ...]:
    """The holds that were let through by name. Raises on any other, naming all of them.

    BudgetError, CheckError, SmokeError, or ReleaseError, by the first gate in GATES that holds.
    """
    blockers = sorted(set(holds))
    closed = [hold for hold in blockers if hold.gate not in set(allowed)]
    if closed:
        gates = sorted({hold.gate for hold in closed}, key=GATES.index)
        lines = [_line(hold) for hold in closed[:_MOST]]
        if len(closed) > _MOST:
            lines.append(f"and {len(closed) - _MOST} more: `edgeimg check` lists all")
        options = " ".join(f"--allow {gate}" for gate in gates)
        raise _ERRORS.get(gates[0], ReleaseError)(
            "\n  ".join(["held back, nothing is released", *lines]),
            hint=f"fix it, or override explicitly with {options}, or [release] allow in the recipe",
        )
    return tuple(blockers)


def _line(hold: Hold) -> str:
    detail = f": {hold.detail}" if hold.detail else ""
    return f"{hold.gate}: {hold.reason}{detail}"


def _uncommitted(paths: Sequence[Path], project: Path) -> list[Hold]:
    """Inputs that no commit of the project's git repository holds as they are."""
    # Ignored files, too: they would be in the image, and in no commit.
    argv = ["git", "-C", str(project), "status", "--porcelain", "-z", "--untracked-files=all"]
    argv += ["--ignored=matching", "--"]
    env = process.environment({"GIT_OPTIONAL_LOCKS": "0"})
    try:
        out = process.run([*argv, *map(str, paths)], timeout=_TIMEOUT, env=env, name="git status")
    except (HostError, ToolError) as error:
        last = error.message.splitlines()[-1].strip()
        return [Hold(gate="dirty-overlay", reason=f"git does not know the project: {last}")]
    entries = [entry[3:] for entry in out.decode(errors="replace").split("\0") if entry]
    return [Hold(gate="dirty-overlay", reason=f"{path} is not committed") for path in entries]
