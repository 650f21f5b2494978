"""A directory of releases: which are there, and where the next one goes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import disk_errors
from edgeimg.errors import ReleaseError, VerifyError
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.release import assemble, order
from edgeimg.release.facts import ReleaseFacts
from edgeimg.release.gates import Hold
from edgeimg.release.layout import FACTS


@dataclass(frozen=True, kw_only=True)
class Released:
    """A finished release."""

    version: str
    directory: Path
    archs: tuple[str, ...]
    overrides: tuple[Hold, ...]
    """Gates that were overridden by name."""
    key: str | None = None
    """Fingerprint of the signing key; None if the release existed before."""
    shared: tuple[str, ...] = ()
    """Architectures whose image comes from a shared cache."""

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {
            "version": self.version,
            "directory": str(self.directory),
            "archs": list(self.archs),
            "overrides": [hold.to_json() for hold in self.overrides],
            "key": self.key,
            "shared": list(self.shared),
        }


def place(plans: Sequence[BuildPlan], releases: Path) -> Path:
    """Where the release will be."""
    _, version = assemble.identity(plans)
    with disk_errors(releases):
        releases.mkdir(parents=True, exist_ok=True)
    order.require(version, [path.name for path in _whole(releases)])
    return releases / version


def finished(
    plans: Sequence[BuildPlan], releases: Path, boot_signers: Mapping[str, str], *, unsigned: bool
) -> Released | None:
    """The release of these plans, if it exists already.

    `boot_signers` are fingerprints of the certificates that the boot files of each architecture
    have to be signed by, empty for none. With `unsigned` they may lack a signature that was
    overridden by name. Raises ReleaseError when the version was released from other inputs.
    """
    final = releases / assemble.identity(plans)[1]
    if not final.exists():
        return None
    try:
        facts = ReleaseFacts.read(final / FACTS)
        before = {image.arch: image.build for image in facts.images}
        overrides = facts.overrides
    except VerifyError:
        before, overrides = {}, ()
    keys = {planned.arch.name: planned.key for planned in plans}
    if before != keys or not _signed(plans, final, boot_signers, overrides, unsigned=unsigned):
        raise ReleaseError(
            f"version {final.name} has been released from other inputs: {final}",
            hint="raise [image] version in the recipe: a version always has the same bytes",
        )
    return Released(
        version=final.name,
        directory=final,
        archs=tuple(before),
        overrides=overrides,
    )


def _signed(
    plans: Sequence[BuildPlan],
    final: Path,
    boot_signers: Mapping[str, str],
    overrides: Sequence[Hold],
    *,
    unsigned: bool,
) -> bool:
    """Whether each image's boot files are signed as they have to be."""
    overridden = unsigned and any(hold.gate == "unsigned-boot" for hold in overrides)
    for plan in plans:
        found = Manifest.read(final / f"{plan.name}{SUFFIX}").secure_boot
        if found != boot_signers[plan.arch.name] and not (overridden and not found):
            return False
    return True


def latest(releases: Path) -> Path | None:
    """The latest release, to compare sizes with."""
    return max(_whole(releases), key=lambda path: (path / FACTS).stat().st_mtime, default=None)


def _whole(releases: Path) -> list[Path]:
    """The releases in a directory that are finished, not under way."""
    return [
        path
        for path in sorted(releases.glob("*/"))
        if not path.name.startswith(".") and (path / FACTS).is_file()
    ]


def empty(directory: Path) -> Path:
    """Remove the files of a killed run."""
    with disk_errors(directory):
        if directory.exists():
            shutil.rmtree(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
    return directory
