"""Layers of a container image → one tree (image-spec 1.1, layer.md).

Where image-spec is silent, this follows containerd: leading `/` are dropped, the last of several
entries with one path counts, and a path below a link of a lower layer is below the target of the
link, within the image. Devices and pipes are left out: the runtime makes /dev.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from edgeimg.cache.store import Store, disk_errors, key, sha256_file
from edgeimg.errors import ArchiveError, DigestError
from edgeimg.sources import tree_index
from edgeimg.sources.archive import (
    node_of,
    require_directory,
    require_few_copies,
    tree_path,
)
from edgeimg.streams import decoding, limits, tar
from edgeimg.streams.decoding import Source
from edgeimg.streams.limits import Budget
from edgeimg.tree import MAX_SYMLINKS, Kind, Node, Tree, directory, resolve

_VERSION = "3"
_WHITEOUT = ".wh."
_OF_AUFS = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_MOST_LAYERS = 500
"""As many as the kernel's overlayfs takes; engines make 127 at most."""
_OF_ALL_LAYERS = replace(limits.UNTRUSTED, nodes=2 * limits.UNTRUSTED.nodes)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, packed or not."""

    digest: str
    """`sha256:…` of the tar inside: the configuration's `diff_ids`."""
    open: Callable[[], tuple[BinaryIO, int]]
    """The blob and its size in bytes."""


@dataclass(frozen=True, kw_only=True)
class Flat:
    """All layers of an image as one."""

    tree: Tree
    devices: tuple[str, ...]
    """Paths of the devices and pipes in the layers, which are not in the tree."""


@dataclass(kw_only=True)
class _Contents:
    """The entries of one layer. Names that begin with `.wh.` are whiteouts."""

    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    """Hard links whose target was not above them in the layer, by path."""
    devices: list[str] = field(default_factory=list)


def flatten(layers: Sequence[Layer], *, store: Store, origin: str) -> Flat:
    """The file tree that the layers make, the first one lowest.

    Each is unpacked into `store` once for its digest. Raises DigestError for a layer that is
    another one, ArchiveError for a damaged or hostile one.
    """
    if len(layers) > _MOST_LAYERS:
        raise ArchiveError(f"{origin}: more than {_MOST_LAYERS} layers, which no runtime starts")
    merged = _Merged(origin)
    budget = Budget(label=f"{origin}: its layers", limits=_OF_ALL_LAYERS)
    devices: list[str] = []
    for layer in layers:
        contents = _read(layer, store, origin)
        budget.node(len(contents.nodes) + len(contents.links) + len(contents.devices))
        merged.apply(contents)
        devices += contents.devices
    require_few_copies(merged.nodes, origin)
    return Flat(tree=Tree(merged.nodes), devices=tuple(sorted(set(devices))))


def _read(layer: Layer, store: Store, origin: str) -> _Contents:
    label = f"{origin}: layer {layer.digest[7:19]}"

    def make(result: Path) -> None:
        data = result / "data"
        with disk_errors(result):
            result.mkdir()
            blob, size = layer.open()
            with blob, data.open("wb") as output:
                _unpack(blob, size, output, label)
        actual = f"sha256:{sha256_file(data)}"
        if actual != layer.digest:
            raise DigestError(f"{label} has the digest {actual}: it is damaged or another layer")
        contents = _contents(data, label)
        index = {
            "nodes": tree_index.rows(contents.nodes),
            "links": contents.links,
            "devices": contents.devices,
        }
        with disk_errors(result):
            (result / "index.json").write_text(json.dumps(index))

    unpacked = store.derived(key("layer", _VERSION, layer.digest), make)
    index = json.loads((unpacked / "index.json").read_text())
    return _Contents(
        nodes=tree_index.nodes(index["nodes"], unpacked / "data", origin=origin),
        links=index["links"],
        devices=index["devices"],
    )


def _unpack(blob: Source, size: int, output: BinaryIO, label: str) -> None:
    start = decoding.Peeked(blob)
    method = decoding.recognise(start.start)
    for piece in decoding.pieces(start, label, method=method, packed=size, limits=limits.UNTRUSTED):
        output.write(piece)


def _contents(data: Path, label: str) -> _Contents:
    contents = _Contents()
    # Docker and containerd read layers that end without blocks of zeros.
    for info in tar.members(data, label, limits=limits.UNTRUSTED, may_lack_end=True):
        path = tree_path(info.name, label)
        if not path:
            # bsdtar writes the second "./" as a hard link to the first.
            if not info.islnk() or tree_path(info.linkname, label):
                require_directory(info, label)
            continue
        if path.startswith(_OF_AUFS) and path != _OPAQUE:
            continue  # what aufs kept for itself
        contents.nodes.pop(path, None)
        contents.links.pop(path, None)
        if info.ischr() or info.isblk() or info.isfifo():
            contents.devices.append(path)
        elif info.islnk():
            target = tree_path(info.linkname, label)
            node = contents.nodes.get(target)
            if target in contents.devices:
                contents.devices.append(path)
            elif node is None or node.kind is Kind.DIRECTORY:
                contents.links[path] = target
            else:
                contents.nodes[path] = node
        else:
            contents.nodes[path] = node_of(info, path, data, label, "")
    return contents


class _Merged:
    """The merged layers. The work of `apply` grows with the layer, not with the layers below."""

    def __init__(self, origin: str) -> None:
        self.nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {"": set()}
        self._homes: dict[str, str] = {}
        self._origin = origin
        self._budget = Budget(label=origin, limits=limits.UNTRUSTED)

    def apply(self, layer: _Contents) -> None:
        """Put a layer on top. Whiteouts come first, because they apply to lower layers only."""
        linked = {path: self._target(layer, path) for path in layer.links}
        for path in layer.nodes:
            parent, _, name = path.rpartition("/")
            if name == _OPAQUE:
                self._empty(self._home(parent))
            elif name.startswith(_WHITEOUT) and name != _WHITEOUT:
                self._remove(_join(self._home(parent), name.removeprefix(_WHITEOUT)))
        for path, node in layer.nodes.items():
            if not path.rpartition("/")[2].startswith(_WHITEOUT):
                self._put(path, node)
        for path, early in linked.items():
            target = early or self.nodes.get(self._real(layer.links[path]))
            if target is None or target.kind is Kind.DIRECTORY:
                raise ArchiveError(
                    f"{self._origin}: /{path} is a hard link to {layer.links[path]!r}, no file"
                )
            self._put(path, target)

    def _target(self, layer: _Contents, path: str) -> Node | None:
        """The target of a hard link: a file anywhere in its layer, or in the layers below."""
        for _ in range(MAX_SYMLINKS):
            if path not in layer.links:
                break
            path = layer.links[path]
        return layer.nodes.get(path) or self.nodes.get(self._real(path))

    def _put(self, path: str, node: Node) -> None:
        self._budget.move(1)
        real = self._real(path)
        earlier = self.nodes.get(real)
        if earlier is not None and earlier.kind is Kind.DIRECTORY is not node.kind:
            self._remove(real)
        if Kind.SYMLINK in (node.kind, earlier.kind if earlier else node.kind):
            self._homes.clear()
        self._place(real, node)

    def _place(self, real: str, node: Node) -> None:
        """Add a node, and the directories above it that nobody described."""
        if real not in self.nodes:
            self._budget.node()
        self.nodes[real] = node
        while real:
            parent = real.rpartition("/")[0]
            self._children.setdefault(parent, set()).add(real)
            above = self.nodes.get(parent)
            if above is not None and above.kind is not Kind.DIRECTORY:
                raise ArchiveError(
                    f"{self._origin}: /{real} is below /{parent}, which is not a directory"
                )
            if not parent or above is not None:
                return
            self._budget.node()
            self.nodes[parent] = directory(origin=self._origin)
            real = parent

    def _remove(self, real: str) -> None:
        self._empty(real)
        if self.nodes.pop(real, None) is not None:
            self._children[real.rpartition("/")[0]].discard(real)

    def _empty(self, real: str) -> None:
        self._homes.clear()
        pending = list(self._children.pop(real, ()))
        while pending:
            path = pending.pop()
            self.nodes.pop(path, None)
            pending += self._children.pop(path, ())

    def _real(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        return _join(self._home(parent), name)

    def _home(self, parent: str) -> str:
        if parent not in self._homes:
            self._homes[parent] = resolve(self.nodes, parent)
        return self._homes[parent]


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name
