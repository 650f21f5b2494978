"""A release's directory: everything written beside each other, then published by one rename.

out/release/<version>/            the same bytes for the same recipe and lock
    SHA256SUMS, SHA256SUMS.gpg    over all of it
    SHA256SUMS.update, .gpg       over the update files without compression
    evidence/                     measurements, which differ from run to run
        SHA256SUMS, SHA256SUMS.gpg
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.cache.store import Store, disk_errors, key, sha256_file
from edgeimg.compose.updates import ROLLBACK_SUFFIX
from edgeimg.errors import ImageError, ReleaseError
from edgeimg.image.manifest import encode
from edgeimg.recipe.updates import Update
from edgeimg.release import artifacts, delta, os_list, provenance
from edgeimg.release.facts import ReleasedFile, ReleasedImage, ReleaseFacts
from edgeimg.release.gates import Hold
from edgeimg.release.layout import FACTS, SIGNATURE, SUMS, UPDATE_SIGNATURE, UPDATE_SUMS
from edgeimg.release.os_list import Entry
from edgeimg.release.provenance import Origin
from edgeimg.release.sums import encode_sums
from edgeimg.sbom import Distribution
from edgeimg.tools import Toolbox

_SPLIT_VERSION = "2"


@dataclass(frozen=True, kw_only=True)
class Part:
    """The image of one architecture with its other files."""

    built: Built
    raw: Path
    """The disk image, decompressed."""
    distribution: Distribution
    sbom: Mapping[str, bytes]
    """Bills of materials by suffix: `.cdx.json`, …"""
    components: Sequence[Mapping[str, str]]
    """Their rows, for people."""

    @property
    def plan(self) -> BuildPlan:
        """The plan that it was built from."""
        return self.built.plan


def identity(plans: Sequence[BuildPlan]) -> tuple[str, str]:
    """The id and version that all images of a release share. Raises ReleaseError."""
    identities = {(plan.recipe.image.id, plan.recipe.image.version) for plan in plans}
    if len(identities) != 1:
        names = ", ".join(sorted(plan.name for plan in plans))
        raise ReleaseError(
            f"a release is of one id and one version, this would be of {names}",
            hint="set [image] id and version for all architectures alike",
        )
    return identities.pop()


def write(
    parts: Sequence[Part],
    origin: Origin,
    directory: Path,
    *,
    url: str | None,
    toolbox: Toolbox,
    store: Store,
) -> None:
    """Write everything but signatures and evidence to the new directory `directory`.

    Equal inputs give equal bytes. Raises HostError, ToolError, ImageError, ReleaseError.
    """
    plans = [part.plan for part in parts]
    image_id, version = identity(plans)
    with disk_errors(directory):
        directory.mkdir(parents=True)
        digests = {
            name: digest
            for part in parts
            for name, digest in _place(part, directory, toolbox, store)
        }
        digests[UPDATE_SUMS] = _write(directory / UPDATE_SUMS, update_sums(directory, digests))
        document = os_list.document([_entry(part) for part in parts], url=url)
        digests["os_list.json"] = _write(directory / "os_list.json", document)
        statement = provenance.statement(digests, plans, origin)
        name = f"{image_id}_{version}.intoto.json"
        digests[name] = _write(directory / name, statement)
        facts = encode(_facts(parts, origin.overrides, directory, digests).to_json())
        digests[FACTS] = _write(directory / FACTS, facts)
        (directory / SUMS).write_bytes(encode_sums(digests))


def update_sums(directory: Path, names: Iterable[str]) -> bytes:
    """The SHA256SUMS of the update files without compression, of the indexes among `names`."""
    listed: dict[str, str] = {}
    for name in names:
        if name.endswith(delta.SUFFIX):
            listed |= delta.digests(directory / name)
    return encode_sums(listed)


def sums(directory: Path) -> Path:
    """Write the SHA256SUMS of all files in `directory`; its path."""
    excluded = (SUMS, SIGNATURE, UPDATE_SIGNATURE)
    files = [path for path in directory.iterdir() if path.is_file() and path.name not in excluded]
    listing = directory / SUMS
    listing.write_bytes(encode_sums({path.name: sha256_file(path) for path in files}))
    return listing


def publish(work: Path, final: Path) -> None:
    """Give the finished directory its name, at once, and make it last. Raises HostError."""
    with disk_errors(final):
        for path in sorted(work.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        work.rename(final)
        parent = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def split(part: Part, *, toolbox: Toolbox, store: Store) -> Path:
    """The directory of the image's update files, made once for the same bytes."""

    def make(result: Path) -> None:
        result.mkdir()
        artifacts.split(part.raw, part.built.name, part.built.manifest, result, toolbox=toolbox)

    name = key("split", _SPLIT_VERSION, part.built.sha256, toolbox.root.name)
    return store.derived(name, make)


def _place(
    part: Part, directory: Path, toolbox: Toolbox, store: Store
) -> Iterator[tuple[str, str]]:
    """Place the image's own files, its update files and bills of materials; names and digests."""
    image_files = [part.built.directory / file for file in part.built.files]
    for source in (*image_files, *split(part, toolbox=toolbox, store=store).iterdir()):
        # A copy: changes to a release must not change the output of builds.
        target = shutil.copyfile(source, directory / source.name)
        digest = sha256_file(target)
        built = part.built.files.get(source.name)
        if built is not None and built.sha256 != digest:
            raise ImageError(f"{source} was changed after the build: its SHA-256 is {digest}")
        yield target.name, digest
    texts = {**part.sbom, **rollback_index(part.plan.recipe.update)}
    for suffix, data in sorted(texts.items()):
        name = f"{part.built.name}{suffix}"
        yield name, _write(directory / name, data)


def rollback_index(update: Update) -> dict[str, bytes]:
    """The file that gateways compare with the highest index that they have run. No file for 0.

    More than a number: systemd-pull 257 refuses files that are shorter than an xz signature.
    """
    if update.rollback_index == 0:
        return {}
    return {f".{ROLLBACK_SUFFIX}": f"rollback_index={update.rollback_index}\n".encode()}


def _write(path: Path, data: bytes) -> str:
    """Write a file; its SHA-256."""
    path.write_bytes(data)
    return sha256(data).hexdigest()


def _entry(part: Part) -> Entry:
    image = part.plan.recipe.image
    return Entry(
        name=f"{image.id} {image.version} ({part.plan.arch.name})",
        arch=part.plan.arch.name,
        download=part.built.download.name,
        download_size=part.built.sizes["download"],
        download_sha256=part.built.sha256,
        raw_size=part.raw.stat().st_size,
        raw_sha256=sha256_file(part.raw),
        epoch=image.epoch,
    )


def _facts(
    parts: Sequence[Part], overrides: Sequence[Hold], directory: Path, digests: Mapping[str, str]
) -> ReleaseFacts:
    image_id, version = identity([part.plan for part in parts])
    return ReleaseFacts(
        id=image_id,
        version=version,
        overrides=tuple(overrides),
        images=tuple(
            ReleasedImage(
                arch=part.plan.arch.name,
                file=part.built.download.name,
                sha256=part.built.sha256,
                root_hash=part.built.manifest.root_hash,
                k3s=part.built.manifest.contents.k3s,
                build=part.built.manifest.digests["build"],
            )
            for part in parts
        ),
        files=tuple(
            ReleasedFile(name=name, size=(directory / name).stat().st_size, sha256=digest)
            for name, digest in sorted(digests.items())
        ),
    )
