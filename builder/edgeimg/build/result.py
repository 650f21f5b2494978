"""Finished images of builds, found again when nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.errors import ImageError
from edgeimg.image.layout import FILES, SHARED, SUMS
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.pack.publish import PublishedFile, describe
from edgeimg.progress import Progress
from edgeimg.sources import standin


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished image; sizes are bytes."""

    plan: BuildPlan
    manifest: Manifest
    files: Mapping[str, PublishedFile]
    """By name, in `directory`."""
    unchanged: bool
    """An earlier build had made it already."""
    shared: bool = False
    """It comes from a shared cache, in this run or an earlier one."""

    @property
    def name(self) -> str:
        """`<id>_<version>_<arch>`: the first part of every file name."""
        return self.plan.name

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self.plan.directory

    @property
    def download(self) -> Path:
        """The compressed disk image."""
        return self.directory / f"{self.name}.raw.zst"

    @property
    def sha256(self) -> str:
        """Of the compressed disk image."""
        return self.files[self.download.name].sha256

    @property
    def k3s(self) -> str:
        """The version inside, and whether it is the stand-in; `none` without K3s."""
        facts = self.manifest.contents.k3s
        if facts is None:
            return "none"
        return f"{facts.version} (stand-in, not K3s)" if facts.standin else facts.version

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the image's parts, and of the download."""
        return {**self.manifest.sizes, "download": self.files[self.download.name].size}

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        # The smoke test measures the bytes written at rest.
        limits = self.plan.recipe.budget.model_dump(
            exclude={"components", "writes"}, exclude_none=True
        )
        return {
            "arch": self.plan.arch.name,
            "name": self.name,
            "directory": str(self.directory),
            "image": str(self.download),
            "sha256": self.sha256,
            "root_hash": self.manifest.root_hash,
            "k3s": self.k3s,
            "standin": self.manifest.contents.standin,
            "files": {name: file.size for name, file in self.files.items()},
            "sizes": self.sizes,
            "budget": limits,
            "unchanged": self.unchanged,
            "shared": self.shared,
        }


def announce(plan: BuildPlan, progress: Progress) -> None:
    """Print warnings: a stand-in K3s, an unsigned index."""
    if plan.recipe.k3s.source == "standin":
        progress.note(
            f"{plan.arch.name}: the K3s inside is the stand-in of builder/standin, NOT K3s: "
            "for tests and demonstrations only"
        )
        lacking = [name for name in plan.recipe.k3s.airgap if name not in standin.COMPONENTS]
        if lacking:
            progress.note(
                f"{plan.arch.name}: the stand-in has no {' or '.join(lacking)}: "
                "[k3s] airgap adds nothing for it"
            )
    if plan.inputs.unsigned_index:
        progress.note(
            f"{plan.arch.name}: its packages were locked from an index that did not match its "
            "signature (`lock --accept-unsigned-index`); they are checked against the lock"
        )


def existing(plan: BuildPlan, progress: Progress) -> Built | None:
    """The finished image of an earlier build with the same key, if all its digests match."""
    try:
        manifest = Manifest.read(plan.directory / f"{plan.name}{SUFFIX}")
        if manifest.digests.get("build") != plan.key:
            return None
        listing = (plan.directory / SUMS).read_text()
        descriptions = [describe(plan.directory / f"{plan.name}{suffix}") for suffix in FILES]
    except (OSError, ValueError, ImageError):
        return None
    if listing != "".join(f"{file.sha256}  {file.name}\n" for file in descriptions):
        progress.note(f"{plan.directory} was damaged after it was built: it is built again")
        return None
    files = {file.name: file for file in descriptions}
    built = Built(plan=plan, manifest=manifest, files=files, unchanged=True)
    return replace(built, shared=_mark(plan) == built.sha256)


def _mark(plan: BuildPlan) -> str:
    """The digest of the image that came from a shared cache; empty for one that was built here."""
    try:
        return (plan.directory / SHARED).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
