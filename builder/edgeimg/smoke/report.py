"""The report of a smoke test: `report.json` beside an image, `NAME.smoke.json` in a release."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeimg.check.findings import Finding
from edgeimg.errors import ImageError
from edgeimg.smoke.verdict import SETTLED, Boot, Check
from edgeimg.text import json_text, typed

REPORT_SUFFIX = ".smoke.json"


@dataclass(frozen=True, kw_only=True)
class SmokeReport:
    """The results of a guest and their checks."""

    arch: str
    image: str
    image_sha256: str
    """Of the file that was booted."""
    accel: str
    accel_reason: str
    memory_mib: int
    cpus: int
    directory: Path
    """Where the console log, the journals and this report are."""
    boots: tuple[Boot, ...]
    checks: tuple[Check, ...]
    seconds: float
    findings: tuple[Finding, ...] = ()
    """Ports that are open and should not be."""
    lost: int = 0
    """How many guests before this one were lost by the emulator."""

    @classmethod
    def read(cls, path: Path) -> SmokeReport:
        """The report in a file, of this or an older edgeimg. Raises ImageError."""
        try:
            return cls.from_json(json_text.read(path), str(path))
        except (OSError, json_text.MalformedError) as error:
            raise ImageError(f"cannot read {path}: {json_text.reason(error)}") from error

    @classmethod
    def from_json(cls, data: object, name: str = "the smoke report") -> SmokeReport:
        """The report that `to_json` made `data` of. Raises ImageError, which `name` names."""
        try:
            return typed.validate(cls, data)
        except json_text.MalformedError as error:
            raise ImageError(f"{name} is damaged: {error}") from error

    @property
    def failures(self) -> tuple[str, ...]:
        """The failures, one line each; empty when the guest passed."""
        return tuple(f"{check.name}: {check.failure}" for check in self.checks if check.failure)

    @property
    def k3s_version(self) -> str:
        """The version of K3s in the guest, marked when it is the stand-in; `none` without K3s."""
        report = next((boot.report for boot in self.boots if boot.report), {})
        if any(stage.name == SETTLED for boot in self.boots for stage in boot.stages):
            return "none"
        info = report.get("k3s_image") or {}
        version = str(info.get("version") or report.get("kubelet_version") or "?")
        return f"{version} (stand-in)" if info.get("standin") else version

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json` and report.json."""
        return {
            **asdict(replace(self, directory=Path())),
            "directory": str(self.directory),
            "passed": not self.failures,
            "failures": list(self.failures),
            "k3s_version": self.k3s_version,
        }
