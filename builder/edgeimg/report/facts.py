"""What a report is made from: plain values, gathered by `release`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeimg.check.findings import Finding


@dataclass(frozen=True, kw_only=True, order=True)
class Component:
    """One row of the SBOM."""

    name: str
    version: str
    kind: str
    """What it is, as the table names it: `Debian package`, `Go module`, …"""
    licence: str = ""
    purl: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """One image of the release."""

    manifest: Mapping[str, Any]
    """Its `.manifest.json` (docs/reference/manifest.md)."""
    sizes: Mapping[str, int]
    """Bytes of `download`, `root`, `uki`, `initrd`; what is not known is left out."""
    budget: Mapping[str, int] = field(default_factory=dict)
    """Bytes that the parts must not exceed."""
    smoke: Mapping[str, Any] | None = None
    """SmokeReport.to_json(), None when it was not booted."""
    findings: Sequence[Finding] = ()
    components: Sequence[Component] = ()
    previous: Mapping[str, Any] | None = None
    """The manifest of the release before this one."""

    @property
    def arch(self) -> str:
        """The architecture's name."""
        return str(self.manifest["image"]["arch"])


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """One release."""

    version: str
    images: Sequence[ImageFacts]
    overrides: Sequence[str] = ()
    """What would have held it back and was let through by name (`recipe.Gate`)."""

    @property
    def name(self) -> str:
        """What the images are called."""
        return str(self.images[0].manifest["image"]["id"]) if self.images else "release"
