"""The input of a report: plain values, gathered by `release`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeimg.check.findings import Finding
from edgeimg.image.manifest import Manifest
from edgeimg.smoke.report import SmokeReport


@dataclass(frozen=True, kw_only=True, order=True)
class Component:
    """One row of the SBOM."""

    name: str
    version: str
    kind: str
    """Kind in the table: `Debian package`, `Go module`, …"""
    licence: str = ""
    purl: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """One image of the release."""

    manifest: Manifest
    sizes: Mapping[str, int]
    """Bytes of `download`, `root`, `uki`, `initrd`; unknown ones are left out."""
    budget: Mapping[str, int] = field(default_factory=dict)
    """Bytes that the parts must not exceed."""
    smoke: SmokeReport | None = None
    """None when it was not booted."""
    findings: Sequence[Finding] = ()
    components: Sequence[Component] = ()
    previous: Manifest | None = None
    """The manifest of the release before this one."""

    @property
    def arch(self) -> str:
        """The architecture's name."""
        return self.manifest.contents.arch


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """One release."""

    version: str
    images: Sequence[ImageFacts]
    overrides: Sequence[str] = ()
    """Gates that were overridden by name (`recipe.Gate`)."""
    shared: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each image that comes from a shared cache, by its file's name."""

    @property
    def name(self) -> str:
        """The name of the images."""
        return self.images[0].manifest.contents.id if self.images else "release"
