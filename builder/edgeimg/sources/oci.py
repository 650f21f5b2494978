"""Container images composed from trees: no engine, no registry, the same bytes every time.

Format: an OCI image layout (image-spec 1.1) in one tar, with the `manifest.json` that container
engines' `load` reads, as `docker save` writes it. `ctr images import` imports it with its name
and platform. Layers are not compressed: the root file system is, and importing costs no time.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeimg.arch import Arch
from edgeimg.tree import Tree, file

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How a container of the image is run (image-spec, config.md)."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    user: str = "65534:65534"
    """Numeric `uid:gid`, so that Kubernetes can see that it isn't root."""
    env: tuple[str, ...] = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)
    workdir: str = "/"
    ports: tuple[str, ...] = ()
    """Such as `8080/tcp`."""
    labels: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, object]:
        """As image-spec writes it."""
        run: dict[str, object] = {
            "User": self.user,
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "WorkingDir": self.workdir,
        }
        if self.command:
            run["Cmd"] = list(self.command)
        if self.ports:
            run["ExposedPorts"] = {port: {} for port in self.ports}
        if self.labels:
            run["Labels"] = dict(self.labels)
        return run


@dataclass(frozen=True, kw_only=True)
class ContainerImage:
    """One image of one layer."""

    name: str
    """The full reference: `localhost/edgeimg/pause:1`."""
    tree: Tree = field(repr=False)
    run: Mapping[str, object]
    """How a container of it runs, in the form of image-spec."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Images in one file."""

    data: bytes = field(repr=False)
    digests: dict[str, str]
    """By the image's name: `sha256:…` of its configuration, the ID of Docker and the CRI."""


def archive(images: Sequence[ContainerImage], arch: Arch, epoch: int) -> Archive:
    """All `images` in one archive; every time stamp is `epoch` (seconds).

    Equal arguments give equal bytes.
    """
    blobs: dict[str, bytes] = {}
    entries, compatible, digests = [], [], {}
    for image in images:
        layer = _layer(image.tree, epoch)
        config = _json(_config(image.run, layer, arch, epoch))
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, layer)],
            }
        )
        blobs |= {_path(blob): blob for blob in (layer, config, manifest)}
        entries.append(_entry(image.name, manifest, arch))
        compatible.append(
            {"Config": _path(config), "RepoTags": [image.name], "Layers": [_path(layer)]}
        )
        digests[image.name] = _digest(config)
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}),
        "manifest.json": _json(compatible),
        **blobs,
    }
    data = _layer(Tree().with_nodes({path: file(data) for path, data in files.items()}), epoch)
    return Archive(data=data, digests=digests)


def _entry(name: str, manifest: bytes, arch: Arch) -> dict[str, object]:
    return _descriptor(_MANIFEST, manifest) | {
        "platform": _platform(arch),
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    }


def _config(run: Mapping[str, object], layer: bytes, arch: Arch, epoch: int) -> dict[str, object]:
    created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **_platform(arch),
        "created": created,
        "config": dict(run),
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created": created, "created_by": "edgeimg"}],
    }


def _platform(arch: Arch) -> dict[str, str]:
    system, architecture, *variant = arch.oci_platform.split("/")
    platform = {"architecture": architecture, "os": system}
    return platform | ({"variant": variant[0]} if variant else {})


def _layer(tree: Tree, epoch: int) -> bytes:
    output = io.BytesIO()
    tree.write_tar(output, mtime=epoch)
    return output.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _path(blob: bytes) -> str:
    return f"blobs/{_digest(blob).replace(':', '/')}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
