"""Container images in files: selection by architecture, and their contents.

Formats: an OCI image layout (image-spec 1.1) as a directory or a tar, and archives of `docker
save`; both also compressed. No content is used before its digest matches.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edgeimg.arch import Arch
from edgeimg.errors import ArchitectureError, ArchiveError, DigestError
from edgeimg.recipe.image_name import full_reference, split
from edgeimg.sources import oci_config, oci_files
from edgeimg.sources.oci_files import Archive, Tar
from edgeimg.sources.oci_layers import Layer
from edgeimg.text import json_text

_MAX_JSON = 8 << 20
_DEPTH = 4
"""How deep indexes may be nested."""
_SHOWN = 20
"""Names in a message."""
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_UNREADABLE = (KeyError, TypeError, AttributeError, IndexError, ValueError, OSError, EOFError)


@dataclass(frozen=True, kw_only=True)
class OciImage:
    """One image for one architecture, as its configuration describes it."""

    name: str
    """Its name in the archive; empty without one."""
    digest: str
    """`sha256:…` of the configuration, which names every layer: the image ID of Docker."""
    manifest: str
    """`sha256:…` of its manifest; empty for an archive of `docker save`."""
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    workdir: str
    user: str
    run: dict[str, Any]
    """Its settings for running it (image-spec, config.md, `config`)."""
    layers: tuple[Layer, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
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


@contextlib.contextmanager
def open_image(path: Path, arch: Arch, tag: str = "") -> Iterator[OciImage]:
    """The image for `arch` in the archive at `path`; its layers can be read within the block.

    `tag` selects one of several images: by its tag or its whole name.
    Raises ArchiveError for files without a container image, without one of that tag, or with
    several; ArchitectureError when none is for `arch`; DigestError for a blob that does not match
    its name.
    """
    label = str(path)
    with _readable(label), oci_files.opened(path) as archive:
        yield _described(archive, _best(_candidates(archive, arch, label, tag), label), label)


@contextlib.contextmanager
def open_images(file: BinaryIO, arch: Arch, label: str) -> Iterator[list[OciImage]]:
    """All images for `arch` in a plain tar, by name; see `open_image`."""
    with _readable(label):
        archive = Tar(file, label)
        by_name: dict[str, list[_Candidate]] = {}
        for candidate in _candidates(archive, arch, label, ""):
            by_name.setdefault(candidate.name, []).append(candidate)
        yield [
            _described(archive, _best(candidates, label), label) for candidates in by_name.values()
        ]


def tags(path: Path) -> list[str]:
    """The names in the archive at `path` that `docker save` wrote. Raises ArchiveError."""
    label = str(path)
    with _readable(label), oci_files.opened(path) as archive:
        entries = _json(_small(archive, "manifest.json", label))
        return [tag for entry in entries for tag in oci_config.texts(entry["RepoTags"], "RepoTags")]


@contextlib.contextmanager
def _readable(label: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ArchiveError(f"{label} is no container image: {error or error!r}") from error


def _candidates(archive: Archive, arch: Arch, label: str, tag: str) -> list[_Candidate]:
    """The images that may run on `arch`. Raises ArchitectureError without such an image."""
    platforms: set[str] = set()
    known: list[str] = []
    saved = not archive.has("index.json")
    if not saved:
        index = _json(_small(archive, "index.json", label))
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
            + (f"it has {', '.join(dict.fromkeys(known))}" if known else "its images have no names")
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
) -> Iterator[_Candidate]:
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
        document = _json(_blob(archive, entry["digest"], label))
        if "manifests" in document:
            if depth == _DEPTH:
                raise ValueError(f"indexes are nested more than {_DEPTH} deep")
            yield from _of_index(archive, document, arch, label, platforms, called, depth + 1)
        elif _is_image(document):
            config = _blob(archive, document["config"]["digest"], label)
            described = {**_json(config)}
            if platform.get("variant"):
                described["variant"] = platform["variant"]
            layers = tuple(_path(layer["digest"]) for layer in document["layers"])
            yield from _fitting(called, config, described, entry["digest"], layers, arch, platforms)


def _notes(entry: dict[str, Any]) -> dict[str, Any]:
    return oci_config.mapping(entry.get("annotations"), "annotations")


def _names(entry: dict[str, Any]) -> tuple[str, ...]:
    """What an entry of an index is called: with its repository, or its tag alone."""
    notes = _notes(entry)
    return tuple(str(notes[key]) for key in _NAMES if notes.get(key))


def _called(names: Iterable[str], tag: str) -> bool:
    """Whether one of the names is `tag`, which is a whole name or a tag alone."""
    if "/" in tag or ":" in tag:
        return any(full_reference(name) == full_reference(tag) for name in names)
    return any(tag in (name, split(name)[1]) for name in names)


def _is_image(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is of an image: signatures and attestations look alike."""
    kinds = [str(layer.get("mediaType") or "tar") for layer in manifest["layers"]]
    return not manifest.get("artifactType") and all(
        "tar" in kind.lower() and "in-toto" not in kind for kind in kinds
    )


def _of_save(
    archive: Archive, arch: Arch, label: str, tag: str, platforms: set[str], known: list[str]
) -> Iterator[_Candidate]:
    """The images that `docker save` wrote; all names are added to `known`."""
    entries = _json(_small(archive, "manifest.json", label))
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
        config = _small(archive, entry["Config"], label)
        layers = oci_config.texts(entry["Layers"], "Layers")
        yield from _fitting(tags, config, _json(config), "", layers, arch, platforms)


def _fitting(
    names: tuple[str, ...],
    config: bytes,
    platform: dict[str, Any],
    manifest: str,
    layers: tuple[str, ...],
    arch: Arch,
    platforms: set[str],
) -> Iterator[_Candidate]:
    place = oci_config.rank(platform, arch)
    if not platform.get("architecture") and not platform.get("rootfs"):
        return
    if place is None:
        platforms.add(oci_config.platform_name({"os": "linux", **platform}))
        return
    yield _Candidate(names=names, rank=place, config=config, manifest=manifest, layers=layers)


def _best(candidates: list[_Candidate], label: str) -> _Candidate:
    """The one that suits the processor best; an image under two names is one."""
    best = min(candidate.rank for candidate in candidates)
    fitting = {c.config: c for c in reversed(candidates) if c.rank == best}
    if len(fitting) > 1:
        several = list(fitting.values())[::-1]
        names = ", ".join(
            f"{c.name or 'an image without a name'} ({_digest(c.config)[:19]}…)"
            for c in several[:_SHOWN]
        )
        more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
        raise ArchiveError(
            f"{label} holds {len(several)} images, expected one: {names}{more}",
            hint=_choice(several, label),
        )
    return next(iter(fitting.values()))


def _choice(several: list[_Candidate], label: str) -> str:
    """How to name one of several images."""
    file = label.rpartition("/")[2]
    for one in several:
        for tag in (split(one.name)[1], one.name):
            if tag and [c for c in several if _called(c.names, tag)] == [one]:
                return f'name one of them behind the file, such as archive = "{file}:{tag}"'
    return "save the intended image to its own file"


def _described(archive: Archive, candidate: _Candidate, label: str) -> OciImage:
    config = _json(candidate.config)
    digests = [oci_config.digest(value) for value in config["rootfs"]["diff_ids"]]
    if len(digests) != len(candidate.layers):
        raise ArchiveError(
            f"{label}: {len(candidate.layers)} layers, but {len(digests)} are described"
        )
    try:
        run = oci_config.run(config)
    except ValueError as error:
        raise ArchiveError(f"{label}: the image's configuration: {error}") from None
    pairs = (entry.partition("=") for entry in run.get("Env") or ())
    return OciImage(
        name=candidate.name,
        digest=_digest(candidate.config),
        manifest=candidate.manifest,
        entrypoint=tuple(run.get("Entrypoint") or ()),
        command=tuple(run.get("Cmd") or ()),
        environment={name: value for name, _, value in pairs},
        workdir=run.get("WorkingDir") or "/",
        user=run.get("User") or "",
        run=run,
        layers=tuple(
            _layer(archive, name, digest)
            for name, digest in zip(candidate.layers, digests, strict=True)
        ),
    )


def _layer(archive: Archive, name: str, digest: str) -> Layer:
    return Layer(digest=digest, open=lambda: archive.open(name))


def _json(data: bytes) -> Any:
    return json_text.parse(data, limit=_MAX_JSON)


def _small(archive: Archive, name: str, label: str) -> bytes:
    file, _ = archive.open(posixpath.normpath(name))
    with file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise ArchiveError(f"{label}: {name} is larger than {_MAX_JSON >> 20} MiB")
    return data


def _blob(archive: Archive, digest: str, label: str) -> bytes:
    data = _small(archive, _path(digest), label)
    if _digest(data) != digest:
        raise DigestError(f"{label}: the blob {digest} has the digest {_digest(data)}")
    return data


def _path(digest: Any) -> str:
    return f"blobs/sha256/{oci_config.digest(digest).partition(':')[2]}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
