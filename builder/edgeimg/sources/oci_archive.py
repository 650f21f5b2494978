"""Container images in files: which one is for an architecture, and what it is made of.

Formats: an OCI image layout (image-spec 1.1) as a directory or a tar, and what `docker save`
writes. Nothing of it is believed before its digest matches.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from edgeimg.arch import Arch
from edgeimg.errors import ArchitectureError, ArchiveError, DigestError
from edgeimg.sources.oci_layers import Layer

_MAX_JSON = 8 << 20
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_DEPTH = 4
"""How deep indexes may be nested."""


@dataclass(frozen=True, kw_only=True)
class OciImage:
    """One image for one architecture, as its configuration describes it."""

    digest: str
    """`sha256:…` of the configuration, which names every layer: the image ID of Docker."""
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    workdir: str
    user: str
    run: dict[str, Any]
    """All that it says about running it (image-spec, config.md, `config`)."""
    layers: tuple[Layer, ...] = field(repr=False)


class _Archive(Protocol):
    def open(self, name: str) -> BinaryIO:
        """A file of the archive. Raises KeyError when there is none."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def open(self, name: str) -> BinaryIO:
        path = self._root / name
        if not path.resolve().is_relative_to(self._root.resolve()) or not path.is_file():
            raise KeyError(name)
        return path.open("rb")


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names = {info.name.removeprefix("./"): info for info in tar}

    def has(self, name: str) -> bool:
        return name in self._names

    def open(self, name: str) -> BinaryIO:
        stream = self._tar.extractfile(self._names[name])
        if stream is None:
            raise KeyError(name)
        return stream  # type: ignore[return-value]


@contextlib.contextmanager
def open_image(path: Path, arch: Arch, tag: str = "") -> Iterator[OciImage]:
    """The image for `arch` in the archive at `path`; its layers can be read within the block.

    Where `docker save` wrote several, `tag` says which one is meant.
    Raises ArchiveError for what is no container image, or holds several; ArchitectureError when
    none is for `arch`; DigestError for a blob that is not what its name says.
    """
    try:
        with _open(path) as archive:
            yield _image(archive, arch, str(path), tag)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ArchiveError(f"{path} is no container image: {error!r}") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"cannot read the container image {path}: {error}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[_Archive]:
    if path.is_dir():
        yield _Directory(path)
    else:
        with tarfile.open(path, "r:") as tar:
            yield _Tar(tar)


def _image(archive: _Archive, arch: Arch, label: str, tag: str) -> OciImage:
    if archive.has("index.json") and not tag:
        index = json.loads(_small(archive, "index.json", label))
        manifest = _manifest(archive, index, arch, label)
        names = [_path(layer["digest"]) for layer in manifest["layers"]]
        config = _blob(archive, manifest["config"]["digest"], label)
    else:
        entries = json.loads(_small(archive, "manifest.json", label))
        if tag:
            entries = [entry for entry in entries if tag in (entry["RepoTags"] or ())]
        if len(entries) != 1:
            raise ArchiveError(f"{label} holds {len(entries)} images, expected one")
        names = entries[0]["Layers"]
        config = _small(archive, entries[0]["Config"], label)
    return _described(archive, config, names, arch, label)


def _manifest(
    archive: _Archive, index: dict[str, Any], arch: Arch, label: str, depth: int = 0
) -> dict[str, Any]:
    """The manifest for `arch`, through nested indexes."""
    entries = [e for e in index["manifests"] if not _is_attestation(e)]
    fitting = [entry for entry in entries if _fits(entry.get("platform"), arch)]
    if not fitting or depth > _DEPTH:
        there = sorted({_platform(entry.get("platform") or {}) for entry in entries})
        raise ArchitectureError(
            f"{label} has no image for {arch.oci_platform}, only for {', '.join(there) or 'none'}"
        )
    if len(fitting) > 1:
        raise ArchiveError(f"{label} holds {len(fitting)} images for {arch.name}, expected one")
    entry = fitting[0]
    document: dict[str, Any] = json.loads(_blob(archive, entry["digest"], label))
    if entry.get("mediaType") in _INDEXES or "manifests" in document:
        return _manifest(archive, document, arch, label, depth + 1)
    return document


def _is_attestation(entry: dict[str, Any]) -> bool:
    notes = entry.get("annotations") or {}
    return "vnd.docker.reference.type" in notes


def _fits(platform: dict[str, Any] | None, arch: Arch) -> bool:
    """Whether a platform may be for `arch`: one that says nothing may."""
    if not platform or platform.get("os") in (None, "unknown"):
        return True
    variant = platform.get("variant")
    same = (platform.get("os"), platform.get("architecture")) == ("linux", arch.goarch)
    return same and (arch.oci_variant is None or variant in (None, "", arch.oci_variant))


def _platform(platform: dict[str, Any]) -> str:
    parts = (platform.get(key) for key in ("os", "architecture", "variant"))
    return "/".join(str(part) for part in parts if part) or "an unnamed platform"


def _described(
    archive: _Archive, data: bytes, names: list[str], arch: Arch, label: str
) -> OciImage:
    config = json.loads(data)
    if not _fits({"os": "linux", **config}, arch):
        raise ArchitectureError(
            f"{label} is for {_platform(config)}, expected {arch.oci_platform}",
            hint="name an image of several platforms, or one for each architecture",
        )
    digests = config["rootfs"]["diff_ids"]
    if len(digests) != len(names):
        raise ArchiveError(f"{label}: {len(names)} layers, but {len(digests)} are described")
    runs = config.get("config") or {}
    pairs = (entry.partition("=") for entry in runs.get("Env") or ())
    return OciImage(
        digest=_digest(data),
        entrypoint=tuple(runs.get("Entrypoint") or ()),
        command=tuple(runs.get("Cmd") or ()),
        environment={name: value for name, _, value in pairs},
        workdir=runs.get("WorkingDir") or "/",
        user=runs.get("User") or "",
        run=runs,
        layers=tuple(
            Layer(digest=digest, open=lambda name=name: archive.open(name))  # type: ignore[misc]
            for digest, name in zip(digests, names, strict=True)
        ),
    )


def _small(archive: _Archive, name: str, label: str) -> bytes:
    with archive.open(name) as file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise ArchiveError(f"{label}: {name} is larger than {_MAX_JSON >> 20} MiB")
    return data


def _blob(archive: _Archive, digest: str, label: str) -> bytes:
    data = _small(archive, _path(digest), label)
    if _digest(data) != digest:
        raise DigestError(f"{label}: the blob {digest} has the digest {_digest(data)}")
    return data


def _path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return f"blobs/sha256/{value}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
