"""Checks that the files of a release agree: names, digests, sizes, root hashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgeimg.errors import ImageError, VerifyError
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.release import delta, sums
from edgeimg.release.facts import ReleasedImage, ReleaseFacts
from edgeimg.release.layout import FACTS, UPDATE_SUMS
from edgeimg.smoke.report import REPORT_SUFFIX, SmokeReport
from edgeimg.text import bounded, json_text

Digests = Mapping[str, str]
"""SHA-256 by name, of the files of one directory, each of which has been checked."""
_MAX_BMAP = 16 << 20
_MAX_UKI = 256 << 20
_SIZE = re.compile(rb"<ImageSize>\s*(\d+)\s*</ImageSize>")


def check(directory: Path, listed: Digests) -> list[str]:
    """Contradictions in a release, or in the directory of a build; one line each."""
    problems = []
    for name in sorted(listed):
        judge = next((judge for suffix, judge in _JUDGES.items() if name.endswith(suffix)), None)
        if judge is not None:
            problems += _guarded(judge, directory, name, listed)
    return problems


def check_evidence(evidence: Path, listed: Digests, release: Digests) -> list[str]:
    """Check that the evidence is about the images of this release."""

    def judge(directory: Path, name: str, _: Digests) -> Iterator[str]:
        report = SmokeReport.read(directory / name)
        image = name.removesuffix(REPORT_SUFFIX) + ".raw.zst"
        if report.image != image or report.image_sha256 != release.get(image):
            yield f"{name}: another image was booted than {image}"

    images = {name.removesuffix(SUFFIX) for name in release if name.endswith(SUFFIX)}
    reports = {name.removesuffix(REPORT_SUFFIX) for name in listed if name.endswith(REPORT_SUFFIX)}
    problems = [f"{name} was not booted" for name in sorted(images - reports)]
    for name in sorted(reports):
        problems += _guarded(judge, evidence, f"{name}{REPORT_SUFFIX}", listed)
    return problems


def _guarded(
    judge: Callable[[Path, str, Digests], Iterator[str]],
    directory: Path,
    name: str,
    listed: Digests,
) -> list[str]:
    try:
        return list(judge(directory, name, listed))
    except (ImageError, VerifyError) as error:
        return [error.message]
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        return [f"{name} is damaged: {json_text.reason(error)}"]


def _manifest(directory: Path, file: str, listed: Digests) -> Iterator[str]:
    manifest = Manifest.read(directory / file)
    name = file.removesuffix(SUFFIX)
    if manifest.contents.name != name:
        yield f"{file} is about {manifest.contents.name}"
    if f"{name}.raw.zst" not in listed:
        yield f"{file}: there is no {name}.raw.zst"
    bmap = f"{name}.bmap"
    size = _SIZE.search(bounded.read(directory / bmap, _MAX_BMAP)) if bmap in listed else None
    if size and int(size[1]) != manifest.disk.size:
        yield f"{bmap} is for a disk of {int(size[1])} bytes, {file} differs"
    if FACTS in listed:
        yield from _update_files(directory, name, manifest, listed)


def _update_files(directory: Path, name: str, manifest: Manifest, listed: Digests) -> Iterator[str]:
    """Update files are named after the halves of the root hash (Discoverable Partitions)."""
    uuids = {part.name: part.uuid for part in manifest.disk.partitions}
    halves = uuids["root-a"] + uuids["root-a-verity"]
    if halves.replace("-", "") != manifest.root_hash:
        yield f"{name}: its partitions are not named after its root hash"
    for part, suffix in (("root-a", "root.xz"), ("root-a-verity", "verity.xz")):
        if f"{name}_{uuids[part]}.{suffix}" not in listed:
            yield f"{name}: there is no update file {name}_{uuids[part]}.{suffix}"
    uki = directory / f"{name}.efi"
    if uki.name not in listed or uki.stat().st_size != manifest.sizes["uki"]:
        yield f"{uki.name} is not the boot file that the manifest describes"
    elif manifest.root_hash.encode() not in bounded.read(uki, _MAX_UKI):
        yield f"{uki.name} does not boot the root of {name}"


def _facts(directory: Path, file: str, listed: Digests) -> Iterator[str]:
    facts = ReleaseFacts.read(directory / file)
    digests = {entry.name: entry.sha256 for entry in facts.files}
    yield from _same(file, digests, {name: listed[name] for name in listed if name != file})
    images = {f"{facts.id}_{facts.version}_{image.arch}": image for image in facts.images}
    for name, image in images.items():
        manifest = Manifest.read(directory / f"{name}{SUFFIX}")
        expected = ReleasedImage(
            arch=image.arch,
            file=f"{name}.raw.zst",
            sha256=listed.get(f"{name}.raw.zst", ""),
            root_hash=manifest.root_hash,
            k3s=manifest.contents.k3s,
            build=manifest.digests["build"],
        )
        if image != expected:
            yield f"{file} and {name}{SUFFIX} disagree"
    for name in sorted(name.removesuffix(SUFFIX) for name in listed if SUFFIX in name):
        if name not in images:
            yield f"{file} does not list the image {name}"


def _provenance(directory: Path, file: str, listed: Digests) -> Iterator[str]:
    statement = json_text.read(directory / file)
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    yield from _same(
        file, subjects, {name: listed[name] for name in listed if name not in (file, FACTS)}
    )


def _update_sums(directory: Path, file: str, listed: Digests) -> Iterator[str]:
    indexes = [name for name in listed if name.endswith(delta.SUFFIX)]
    expected: dict[str, str] = {}
    for name in indexes:
        expected |= delta.digests(directory / name)
        uki = f"{name.removesuffix(delta.SUFFIX)}.efi"
        if expected.get(uki) != listed.get(uki):
            yield f"{name} is about another {uki}"
    yield from _same(file, sums.parse(sums.read(directory / file), directory / file), expected)


def _same(file: str, listed: Digests, actual: Digests) -> Iterator[str]:
    for name in sorted(listed.keys() | actual.keys()):
        if listed.get(name) != actual.get(name):
            yield f"{file} disagrees about {name}"


_JUDGES = {
    SUFFIX: _manifest, FACTS: _facts, ".intoto.json": _provenance, UPDATE_SUMS: _update_sums
}  # fmt: skip
