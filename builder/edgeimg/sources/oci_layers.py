"""Layers of a container image → one tree (image-spec 1.1, layer.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeimg.cache.store import Store, disk_errors, key
from edgeimg.errors import ArchiveError, DigestError
from edgeimg.sources import tree_index
from edgeimg.sources.archive import ArMember, decompress, tar_nodes
from edgeimg.streams.decoding import CHUNK
from edgeimg.tree import Kind, Node, Tree, directory

_VERSION = "1"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_SUFFIXES = {b"\x1f\x8b": ".tar.gz", b"\x28\xb5\x2f\xfd": ".tar.zst", b"\xfd7zXZ": ".tar.xz"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, packed or not."""

    digest: str
    """`sha256:…` of the tar inside: the configuration's `diff_ids`."""
    open: Callable[[], BinaryIO]
    """The blob, which can be seeked."""


def flatten(layers: Sequence[Layer], *, store: Store, origin: str) -> Tree:
    """The file tree that the layers make, the first one lowest.

    Each is unpacked into `store` once for its digest. Raises DigestError for a layer that is
    another one, ArchiveError for a damaged or hostile one.
    """
    merged: dict[str, Node] = {}
    for layer in layers:
        _apply(merged, _read(layer, store, origin))
    for path in list(merged):
        _require_parents(merged, path, origin)
    return Tree(merged)


def _read(layer: Layer, store: Store, origin: str) -> dict[str, Node]:
    label = f"{origin}: layer {layer.digest[7:19]}"

    def make(result: Path) -> None:
        with disk_errors(result):
            result.mkdir()
            data = result / "data"
            with layer.open() as blob, data.open("wb") as output:
                _unpack(blob, output, label)
        found = f"sha256:{_sha256(data)}"
        if found != layer.digest:
            raise DigestError(f"{label} has the digest {found}: it is damaged or another one")
        index = tree_index.rows(tar_nodes(data, label))
        with disk_errors(result):
            (result / "index.json").write_text(json.dumps(index))

    unpacked = store.derived(key("layer", _VERSION, layer.digest), make)
    rows = json.loads((unpacked / "index.json").read_text())
    return tree_index.nodes(rows, unpacked / "data", origin=origin)


def _unpack(blob: BinaryIO, output: BinaryIO, label: str) -> None:
    size = blob.seek(0, 2)
    blob.seek(0)
    magic = blob.read(5)
    suffix = next((s for m, s in _SUFFIXES.items() if magic.startswith(m)), ".tar")
    decompress(blob, ArMember(f"layer{suffix}", 0, size), output, label)


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _apply(below: dict[str, Node], layer: dict[str, Node]) -> None:
    """Put a layer on top: whiteouts first, since they only mean what is below."""
    for path in layer:
        parent, _, name = path.rpartition("/")
        if name == _OPAQUE:
            _remove(below, parent, itself=False)
        elif name.startswith(_WHITEOUT):
            _remove(below, f"{parent}/{name.removeprefix(_WHITEOUT)}".lstrip("/"), itself=True)
    for path, node in layer.items():
        if path.rpartition("/")[2].startswith(_WHITEOUT):
            continue
        earlier = below.get(path)
        if earlier is not None and earlier.kind is Kind.DIRECTORY is not node.kind:
            _remove(below, path, itself=True)
        below[path] = node


def _remove(nodes: dict[str, Node], path: str, *, itself: bool) -> None:
    inside = f"{path}/" if path else ""
    for name in [n for n in nodes if n.startswith(inside) or (itself and n == path)]:
        del nodes[name]


def _require_parents(nodes: dict[str, Node], path: str, origin: str) -> None:
    parent = path.rpartition("/")[0]
    while parent:
        node = nodes.setdefault(parent, directory(origin=origin))
        if node.kind is not Kind.DIRECTORY:
            raise ArchiveError(f"{origin}: /{path} lies below /{parent}, which is no directory")
        parent = parent.rpartition("/")[0]
