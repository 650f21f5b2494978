"""Measurements of a release. They differ from run to run, so they have their own directory."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg import report
from edgeimg.cache.store import disk_errors
from edgeimg.check import sarif
from edgeimg.check.findings import Finding
from edgeimg.errors import ImageError
from edgeimg.image.manifest import SUFFIX, Manifest, encode
from edgeimg.recipe.file import RecipeFile
from edgeimg.release.assemble import Part
from edgeimg.release.gates import Hold
from edgeimg.report import Component, ImageFacts, ReportFacts
from edgeimg.smoke.junit import junit
from edgeimg.smoke.report import SmokeReport


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that was found out about the images, in the order of `parts`."""

    source: RecipeFile
    parts: Sequence[Part]
    findings: Sequence[Sequence[Finding]]
    boots: Sequence[SmokeReport]
    overrides: Sequence[Hold]
    previous: Path | None
    """The release before this one."""


def write(evidence: Evidence, directory: Path) -> None:
    """Write logs, findings and the report for people to the new directory. Raises HostError."""
    by_arch = {
        part.plan.arch.name: findings
        for part, findings in zip(evidence.parts, evidence.findings, strict=True)
    }
    with disk_errors(directory):
        directory.mkdir()
        for part, boot in zip(evidence.parts, evidence.boots, strict=True):
            facts = {**boot.to_json(), "directory": ""}
            (directory / f"{part.built.name}.smoke.json").write_bytes(encode(facts))
            log = boot.directory / "console.log"
            shutil.copyfile(log, directory / f"{part.built.name}.console.log")
        (directory / "smoke.junit.xml").write_bytes(junit(evidence.boots))
        (directory / "findings.sarif").write_bytes(sarif.document(by_arch, evidence.source))
        listed = {
            arch: [asdict(finding) for finding in findings] for arch, findings in by_arch.items()
        }
        (directory / "findings.json").write_bytes(encode(listed))
        if shared := _shared(evidence):
            (directory / "shared-cache.json").write_bytes(encode({"images": shared}))
        (directory / "report.html").write_text(report.page(_facts(evidence)), encoding="utf-8")


def _shared(evidence: Evidence) -> dict[str, str]:
    """SHA-256 of each image that comes from a shared cache, by its file's name."""
    return {
        part.built.download.name: part.built.sha256 for part in evidence.parts if part.built.shared
    }


def _facts(evidence: Evidence) -> ReportFacts:
    return ReportFacts(
        version=evidence.parts[0].plan.recipe.image.version,
        images=[
            _image(part, findings, boot, _manifest(evidence.previous, part))
            for part, findings, boot in zip(
                evidence.parts, evidence.findings, evidence.boots, strict=True
            )
        ],
        overrides=sorted({hold.gate for hold in evidence.overrides}),
        shared=_shared(evidence),
    )


def _image(
    part: Part, findings: Sequence[Finding], boot: SmokeReport, previous: Manifest | None
) -> ImageFacts:
    budget = part.plan.recipe.budget.model_dump(exclude={"components"}, exclude_none=True)
    return ImageFacts(
        manifest=part.built.manifest,
        sizes=part.built.sizes,
        budget=budget,
        smoke=boot,
        findings=findings,
        components=[Component(**row) for row in part.components],
        previous=previous,
    )


def _manifest(release: Path | None, part: Part) -> Manifest | None:
    """The manifest of the same architecture in another release; None when it has none."""
    if release is None:
        return None
    image = part.plan.recipe.image
    for path in sorted(release.glob(f"{image.id}_*_{part.plan.arch.name}{SUFFIX}")):
        with contextlib.suppress(ImageError):
            return Manifest.read(path)
    return None
