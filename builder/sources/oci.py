"""Container images composed from trees: no engine, no registry, the same bytes every time.

Format: an OCI image layout (image-spec 1.1) in one tar, with the `manifest.json` that container
engines' `load` reads, as `docker save` writes it. `ctr images import` takes it with its name
and platform. Layers are not compressed: the root file system is, and importing costs no time.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

from builder.arch import Arch
from builder.tree import Tree, file

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


def compose(name: str, tree: Tree, config: ImageConfig, arch: Arch, epoch: int) -> bytes:
    """The archive of one image with one layer.

    `name` is the full reference (`localhost/edgeimg/pause:1`); every time stamp is `epoch`
    (seconds). Equal arguments give equal bytes.
    """
    layer = _layer(tree, epoch)
    config_blob = _json(_config(config, layer, arch, epoch))
    layer_entry = _descriptor(_LAYER, layer)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config_blob),
            "layers": [layer_entry],
        }
    )
    blobs = {_path(blob): blob for blob in (layer, config_blob, manifest)}
    compatible = [
        {"Config": _path(config_blob), "RepoTags": [name], "Layers": [_path(layer)]},
    ]
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(_index(name, manifest, arch)),
        "manifest.json": _json(compatible),
        **blobs,
    }
    return _layer(Tree().with_nodes({path: file(data) for path, data in files.items()}), epoch)


def _index(name: str, manifest: bytes, arch: Arch) -> dict[str, Any]:
    entry = _descriptor(_MANIFEST, manifest) | {
        "platform": _platform(arch),
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    }
    return {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}


def _config(config: ImageConfig, layer: bytes, arch: Arch, epoch: int) -> dict[str, Any]:
    created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    run: dict[str, Any] = {
        "User": config.user,
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint),
        "WorkingDir": config.workdir,
    }
    if config.command:
        run["Cmd"] = list(config.command)
    if config.ports:
        run["ExposedPorts"] = {port: {} for port in config.ports}
    if config.labels:
        run["Labels"] = dict(config.labels)
    return {
        **_platform(arch),
        "created": created,
        "config": run,
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


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _path(blob: bytes) -> str:
    return f"blobs/{_digest(blob).replace(':', '/')}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
