"""What a build leaves: finished images, found again when nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import sha256_file
from edgeimg.image.layout import FILES, SUMS
from edgeimg.progress import Progress
from edgeimg.recipe.tables import Budget
from edgeimg.text import json_text


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished image; sizes are bytes."""

    arch: str
    name: str
    directory: Path
    files: Mapping[str, int]
    """Size by file name."""
    sha256: str
    """Of the .raw.zst."""
    root_hash: str
    k3s: str
    standin: bool
    sizes: Mapping[str, int]
    budget: Budget
    unchanged: bool
    """An earlier build had made it already."""

    @property
    def download(self) -> Path:
        """The compressed disk image."""
        return self.directory / f"{self.name}.raw.zst"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        # What is written at rest is the smoke test's to measure.
        limits = self.budget.model_dump(exclude={"components", "writes"}, exclude_none=True)
        return {
            "arch": self.arch,
            "name": self.name,
            "directory": str(self.directory),
            "image": str(self.download),
            "sha256": self.sha256,
            "root_hash": self.root_hash,
            "k3s": self.k3s,
            "standin": self.standin,
            "files": dict(self.files),
            "sizes": dict(self.sizes),
            "budget": limits,
            "unchanged": self.unchanged,
        }


def announce(plan: BuildPlan, progress: Progress) -> None:
    """Say what must not be overlooked: a stand-in K3s, an unsigned index."""
    if plan.recipe.k3s.source == "standin":
        progress.note(
            f"{plan.arch.name}: the K3s inside is the stand-in of builder/standin, NOT K3s: "
            "for tests and demonstrations only"
        )
        if plan.recipe.k3s.airgap:
            progress.note(
                f"{plan.arch.name}: the stand-in has no {' or '.join(plan.recipe.k3s.airgap)}: "
                "[k3s] airgap brings nothing"
            )
    if plan.inputs.unsigned_index:
        progress.note(
            f"{plan.arch.name}: its packages were locked from an index that did not match its "
            "signature (`lock --accept-unsigned-index`); they are checked against the lock"
        )


def existing(plan: BuildPlan, key: str, progress: Progress) -> Built | None:
    """The finished image of an earlier build with the same key, if every byte of it is whole."""
    try:
        manifest = json_text.read(plan.directory / f"{plan.name}.manifest.json")
        if manifest["digests"]["build"] != key:
            return None
        listing = (plan.directory / SUMS).read_text()
        sums = {
            f"{plan.name}{suffix}": sha256_file(plan.directory / f"{plan.name}{suffix}")
            for suffix in FILES
        }
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if listing != "".join(f"{digest}  {name}\n" for name, digest in sums.items()):
        progress.note(f"{plan.directory} was damaged after it was built: it is built again")
        return None
    return describe(plan, manifest, sums, unchanged=True)


def describe(
    plan: BuildPlan, manifest: Mapping[str, Any], sums: Mapping[str, str], *, unchanged: bool
) -> Built:
    """The finished image in `plan.directory`, from its manifest and its list of digests."""
    files = {name: (plan.directory / name).stat().st_size for name in sums}
    k3s = manifest["k3s"]
    return Built(
        arch=plan.arch.name,
        name=plan.name,
        directory=plan.directory,
        files=files,
        sha256=sums[f"{plan.name}.raw.zst"],
        root_hash=manifest["root_hash"],
        k3s=f"{k3s['version']} (stand-in, not K3s)" if k3s["standin"] else k3s["version"],
        standin=k3s["standin"],
        sizes={**manifest["sizes"], "download": files[f"{plan.name}.raw.zst"]},
        budget=plan.recipe.budget,
        unchanged=unchanged,
    )
