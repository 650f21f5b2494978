"""Container images in the root: what they are called, and what is inside them.

Formats: OCI image layout (image-spec 1.1) and `docker save` archives; layers as tar, gzip, zstd.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import zstandard

from edgeimg.errors import ArchiveError
from edgeimg.sources.deb import parse_control
from edgeimg.text import json_text

_MAX_BYTES = 1 << 30
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_STATUS = "var/lib/dpkg/status"
_PREFIX = "org.opencontainers.image."


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of an archive."""

    name: str
    """Its full reference: `localhost/edgeimg/pause:1`."""
    digest: str
    """`sha256:…` of its manifest; of its configuration for a `docker save` archive."""
    labels: dict[str, str]
    """Those of the image-spec, without `org.opencontainers.image.`."""
    files: dict[str, bytes]
    """The files of all layers, later ones on top."""

    def packages(self) -> Iterator[dict[str, str]]:
        """The control fields of the Debian packages installed in it."""
        for path, content in sorted(self.files.items()):
            if path == _STATUS or path.startswith(f"{_STATUS}.d/"):
                for paragraph in content.decode("utf-8", "replace").split("\n\n"):
                    if paragraph.strip():
                        fields = parse_control(paragraph, f"{self.name}: {path}")
                        if "installed" in fields.get("Status", "installed").split():
                            yield fields


def read(archive: bytes, label: str) -> list[Image]:
    """The images in an archive; `label` names it. Raises ArchiveError when it is none."""
    blobs = _members(archive, label)
    try:
        if "index.json" in blobs:
            index = json_text.parse(blobs["index.json"])
            return [_from_layout(blobs, entry, label) for entry in index["manifests"]]
        entries = json_text.parse(blobs["manifest.json"])
        return [_from_docker(blobs, entry, label) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArchiveError(f"{label} is no container image: {error!r}") from error


def _from_layout(blobs: dict[str, bytes], entry: dict[str, Any], label: str) -> Image:
    manifest = json_text.parse(_blob(blobs, entry["digest"]))
    notes = entry.get("annotations") or {}
    name = notes.get("io.containerd.image.name") or notes.get(f"{_PREFIX}ref.name")
    return _image(
        str(name or label),
        entry["digest"],
        _blob(blobs, manifest["config"]["digest"]),
        [_blob(blobs, layer["digest"]) for layer in manifest["layers"]],
        label,
    )


def _from_docker(blobs: dict[str, bytes], entry: dict[str, Any], label: str) -> Image:
    config = blobs[entry["Config"]]
    name = next(iter(entry.get("RepoTags") or ()), label)
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    return _image(name, digest, config, [blobs[path] for path in entry["Layers"]], label)


def _image(name: str, digest: str, config: bytes, layers: list[bytes], label: str) -> Image:
    labels = (json_text.parse(config).get("config") or {}).get("Labels") or {}
    files: dict[str, bytes] = {}
    for layer in layers:
        added = _members(_unpacked(layer, label), label)
        for path in added:
            parent, _, last = path.rpartition("/")
            if last.startswith(".wh."):  # a whiteout: image-spec, layer.md
                gone = f"{parent}/{last[4:]}".lstrip("/")
                files = {
                    p: c for p, c in files.items() if p != gone and p[: len(gone) + 1] != f"{gone}/"
                }
        files |= {p: c for p, c in added.items() if not p.rpartition("/")[2].startswith(".wh.")}
    short = {
        key.removeprefix(_PREFIX): str(value)
        for key, value in labels.items()
        if key.startswith(_PREFIX)
    }
    return Image(name=name, digest=digest, labels=short, files=files)


def _blob(blobs: dict[str, bytes], digest: str) -> bytes:
    return blobs[f"blobs/{digest.replace(':', '/')}"]


def _unpacked(layer: bytes, label: str) -> bytes:
    """The tar in a layer. Raises ArchiveError for a damaged one, and for bombs."""
    packed = io.BytesIO(layer)
    try:
        if layer[:2] == _GZIP:
            return _read(gzip.GzipFile(fileobj=packed), label)
        if layer[:4] == _ZSTD:
            return _read(zstandard.ZstdDecompressor().stream_reader(packed), label)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise ArchiveError(f"{label}: a layer is damaged: {error}") from error
    return layer


def _read(stream: _Readable, label: str) -> bytes:
    output = bytearray()
    while chunk := stream.read(_CHUNK):
        output += chunk
        if len(output) > _MAX_BYTES:
            raise ArchiveError(f"{label}: a layer unpacks to more than {_MAX_BYTES >> 20} MiB")
    return bytes(output)


def _members(archive: bytes, label: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for info in tar:
                stream = tar.extractfile(info) if info.isreg() else None
                if stream is not None:
                    found[info.name.removeprefix("./")] = stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"{label} is no container image: {error}") from error
    return found
