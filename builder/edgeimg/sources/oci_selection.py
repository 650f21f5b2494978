"""Which of the images of an archive is meant: by architecture, and by tag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from edgeimg.arch import Arch
from edgeimg.errors import ArchitectureError, ArchiveError
from edgeimg.recipe.image_name import full_reference, split
from edgeimg.sources import oci_config
from edgeimg.sources.oci_blobs import blob_path, digest_of, parse_json, read_blob, read_small
from edgeimg.sources.oci_files import Archive
from edgeimg.text.json_text import JsonObject

_DEPTH = 4
"""How deep indexes may be nested."""
_SHOWN = 20
"""Names in a message."""
_MOST_FILES = 5_000
"""Manifests and configurations that are read to find an image."""
_MOST_BYTES = 128 << 20
"""Of all of them."""
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image of an archive whose platform may fit."""

    names: tuple[str, ...]
    rank: int
    config: bytes
    manifest: str
    layers: tuple[str, ...]
    """Paths in the archive."""

    @property
    def name(self) -> str:
        """The first of its names; empty without one."""
        return self.names[0] if self.names else ""


def find_candidates(archive: Archive, arch: Arch, label: str, tag: str) -> list[Candidate]:
    """The images that may run on `arch`. Raises ArchitectureError without such an image."""
    archive = _Meter(archive, label)
    platforms: set[str] = set()
    known: list[str] = []
    saved = not archive.has("index.json")
    if not saved:
        index = parse_json(read_small(archive, "index.json", label))
        known = [name for entry in index["manifests"] for name in _names(entry)]
        # An index may lack the names that `docker save` writes beside it.
        saved = bool(tag) and not _called(known, tag) and archive.has("manifest.json")
    if not saved:
        candidates = list(_of_index(archive, index, arch, label, platforms))
    elif archive.has("manifest.json"):
        candidates = list(_of_save(archive, arch, label, tag, platforms, known))
    else:
        raise ArchiveError(
            f"{label} is no container image: it has neither index.json nor manifest.json",
            hint="write it with `docker save`; `docker export` leaves the configuration out",
        )
    if tag and not _called(known, tag):
        raise ArchiveError(
            f"{label} has no image {tag!r}: "
            + (
                f"it has {_listed(list(dict.fromkeys(known)))}"
                if known
                else "its images have no names"
            )
        )
    if tag:
        candidates = [one for one in candidates if _called(one.names, tag)]
    if not candidates:
        available = ", ".join(sorted(platforms))
        only = f", only for {available}" if available else ": it holds no image"
        raise ArchitectureError(
            f"{label} is for {available}, expected {arch.oci_platform}"
            if saved and available
            else f"{label} has no image for {arch.oci_platform}{only}",
            hint="name an image of several platforms, or one for each architecture",
        )
    return candidates


def _of_index(
    archive: Archive,
    index: Any,
    arch: Arch,
    label: str,
    platforms: set[str],
    names: tuple[str, ...] = (),
    depth: int = 0,
) -> Iterator[Candidate]:
    """The images of an index and of indexes nested in it. Other entries are skipped."""
    for entry in index["manifests"]:
        platform = oci_config.mapping(entry.get("platform"), "platform")
        if "vnd.docker.reference.type" in _notes(entry) or entry.get("artifactType"):
            continue
        if platform.get("os") == "unknown":
            continue
        if oci_config.rank(platform, arch) is None:
            platforms.add(oci_config.platform_name(platform))
            continue
        called = _names(entry) or names
        document = parse_json(read_blob(archive, entry["digest"], label))
        if "manifests" in document:
            if depth == _DEPTH:
                raise ValueError(f"indexes are nested more than {_DEPTH} deep")
            yield from _of_index(archive, document, arch, label, platforms, called, depth + 1)
        elif _is_image(document):
            config = read_blob(archive, document["config"]["digest"], label)
            described = {**parse_json(config)}
            if platform.get("variant"):
                described["variant"] = platform["variant"]
            layers = tuple(blob_path(layer["digest"]) for layer in document["layers"])
            yield from _fitting(called, config, described, entry["digest"], layers, arch, platforms)


class _Meter:
    """An archive of which only so much is read: indexes may name one manifest again and again."""

    def __init__(self, archive: Archive, label: str) -> None:
        self._archive, self._label = archive, label
        self._files = self._bytes = 0

    def has(self, name: str) -> bool:
        """See `Archive`."""
        return self._archive.has(name)

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """See `Archive`. Raises ArchiveError beyond the limits."""
        file, size = self._archive.open(name)
        self._files += 1
        self._bytes += size
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES:
            file.close()
            raise ArchiveError(f"{self._label}: its indexes name too many images")
        return file, size


def _notes(entry: JsonObject) -> JsonObject:
    return oci_config.mapping(entry.get("annotations"), "annotations")


def _names(entry: JsonObject) -> tuple[str, ...]:
    """What an entry of an index is called: with its repository, or its tag alone."""
    notes = _notes(entry)
    return tuple(str(notes[key]) for key in _NAMES if notes.get(key))


def _called(names: Iterable[str], tag: str) -> bool:
    """Whether one of the names is `tag`, which is a whole name or a tag alone."""
    if "/" in tag or ":" in tag:
        return any(full_reference(name) == full_reference(tag) for name in names)
    return any(tag in (name, split(name)[1]) for name in names)


def _is_image(manifest: JsonObject) -> bool:
    """Whether a manifest is of an image: signatures and attestations look alike."""
    if "fsLayers" in manifest:
        return False  # a manifest of Docker before 2016
    kinds = [str(layer.get("mediaType") or "tar") for layer in manifest["layers"]]
    return not manifest.get("artifactType") and all(
        "tar" in kind.lower() and "in-toto" not in kind for kind in kinds
    )


def _of_save(
    archive: Archive, arch: Arch, label: str, tag: str, platforms: set[str], known: list[str]
) -> Iterator[Candidate]:
    """The images that `docker save` wrote; all names are added to `known`."""
    entries = parse_json(read_small(archive, "manifest.json", label))
    if isinstance(entries, dict):
        raise ArchiveError(
            f"{label} is no container image: its manifest.json is the manifest of one image",
            hint=f"write it as an OCI layout: `skopeo copy dir:{label} oci:DIRECTORY`",
        )
    for entry in entries:
        tags = oci_config.texts(entry.get("RepoTags"), "RepoTags")
        known += tags
        if tag and not _called(tags, tag):
            continue
        config = read_small(archive, entry["Config"], label)
        layers = oci_config.texts(entry["Layers"], "Layers")
        yield from _fitting(tags, config, parse_json(config), "", layers, arch, platforms)


def _fitting(
    names: tuple[str, ...],
    config: bytes,
    platform: JsonObject,
    manifest: str,
    layers: tuple[str, ...],
    arch: Arch,
    platforms: set[str],
) -> Iterator[Candidate]:
    place = oci_config.rank(platform, arch)
    if not platform.get("architecture") and not platform.get("rootfs"):
        return
    if place is None:
        platforms.add(oci_config.platform_name({"os": "linux", **platform}))
        return
    yield Candidate(names=names, rank=place, config=config, manifest=manifest, layers=layers)


def choose(candidates: list[Candidate], label: str) -> Candidate:
    """The one that suits the processor best; an image under two names is one.

    Raises ArchiveError when several images fit: platforms are compared within one image.
    """
    best: dict[tuple[str, ...], int] = {}
    for one in candidates:
        best[one.names] = min(one.rank, best.get(one.names, one.rank))
    fitting = {c.config: c for c in reversed(candidates) if c.rank == best[c.names]}
    if len(fitting) > 1:
        several = list(fitting.values())[::-1]
        names = _listed(
            [
                f"{c.name or 'an image without a name'} ({digest_of(c.config)[:19]}…)"
                for c in several
            ]
        )
        raise ArchiveError(
            f"{label} holds {len(several)} images, expected one: {names}",
            hint=_choice(several, label),
        )
    return next(iter(fitting.values()))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _choice(several: list[Candidate], label: str) -> str:
    """How to name one of several images."""
    file = label.rpartition("/")[2]
    for one in several[:_SHOWN]:
        for tag in (split(one.name)[1], one.name):
            if tag and [c for c in several if _called(c.names, tag)] == [one]:
                return f'name one of them behind the file, such as archive = "{file}:{tag}"'
    return "save the intended image to its own file"
