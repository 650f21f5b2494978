"""A K3s binary → the files that it would unpack on a gateway's first start, as a tree.

The asset's layout (`bin/`, `etc/`, `bin/.sha256sums`, `bin/.links`) is K3s' own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, key, sha256_file
from edgeimg.errors import ArchiveError
from edgeimg.sources import go_binary, k3s_asset
from edgeimg.sources.archive import tar_nodes
from edgeimg.sources.go_binary import GoBuild
from edgeimg.sources.k3s_asset import Asset
from edgeimg.sources.k3s_verify import verify
from edgeimg.streams import decoding
from edgeimg.streams.decoding import Window
from edgeimg.streams.limits import UNTRUSTED
from edgeimg.tree import Kind, Node, Span, Tree, directory, file, replace, symlink

Source = Literal["release", "file", "standin"]

DATA = "usr/lib/k3s/data"
FACTS = "usr/share/edgeimg/k3s.json"
COMMANDS = ("k3s", "kubectl", "crictl", "ctr")
_VERSION = "1"
_LIMITS = dataclasses.replace(UNTRUSTED, bytes=1 << 30)
_STANDIN = "edgeimg.local/standin"
_VERSION_FLAG = re.compile(r"k3s/pkg/version\.Version=(v\d[\w.+-]*)")
_ORIGIN = "k3s"


@dataclass(frozen=True, kw_only=True)
class K3sBundle:
    """K3s, unpacked: a tree to merge into the root, version and digest."""

    version: str
    """As the program reports it; `unknown` for a build without a version."""
    source: Source
    standin: bool
    """It is the test program of builder/standin, not K3s."""
    sha256: str
    """Digest of the binary."""
    data_hash: str
    """K3s' name of the data in the binary."""
    tree: Tree = field(repr=False)


def unpack(
    binary: Path,
    arch: Arch,
    store: Store,
    *,
    source: Source = "file",
    version: str | None = None,
    label: str | None = None,
) -> K3sBundle:
    """Take the K3s binary at `binary` apart; `label` names it in errors.

    `version` is the expected one (the lock's), for official releases. The tree holds
    `usr/lib/k3s/data/<hash>/`, the link `usr/lib/k3s/current`, the commands in `usr/bin`, and
    `usr/share/edgeimg/k3s.json`. Raises ArchitectureError for another architecture's, DigestError
    for changed bytes, ArchiveError for a file that is truncated, hostile, not K3s, or of another
    version.
    """
    label = label or f"the K3s binary {binary.name}"
    sha256 = sha256_file(binary)
    directory = store.derived(
        key("k3s", _VERSION, sha256, arch.name), lambda result: _make(binary, arch, result, label)
    )
    facts = json.loads((directory / "facts.json").read_text())
    actual = facts["version"]
    if version and actual and actual != version:
        raise ArchiveError(
            f"{label} is K3s {actual}, expected {version}",
            hint="correct [k3s] version, or its pins in [k3s.sha256], and run `edgeimg lock`",
        )
    described = {
        "version": actual or version or "unknown",
        "source": source,
        "standin": facts["standin"],
        "data_hash": facts["data_hash"],
    }
    tree = _place(tar_nodes(directory / "data.tar", label, origin=_ORIGIN), described)
    return K3sBundle(**described, sha256=sha256, tree=tree)


def _make(binary: Path, arch: Arch, result: Path, label: str) -> None:
    asset = k3s_asset.find(binary, arch, label)
    result.mkdir()
    archive = result / "data.tar"
    with disk_errors(result):
        _decompress(binary, asset, archive, label)
    nodes = tar_nodes(archive, label)
    verify(nodes, arch, label)
    wrapper, program = _build_of(binary), _build_of_node(nodes["bin/k3s"])
    facts = {
        "version": _version(wrapper, program),
        "standin": bool(program and program.module == _STANDIN),
        "data_hash": asset.hash,
    }
    with disk_errors(result):
        (result / "facts.json").write_text(json.dumps(facts))


def _decompress(binary: Path, asset: Asset, output: Path, label: str) -> None:
    with binary.open("rb") as source, output.open("wb") as target:
        frame = Window(source, asset.offset, asset.size)
        for piece in decoding.pieces(
            frame, f"{label}: its asset", method=decoding.ZSTD, packed=asset.size, limits=_LIMITS
        ):
            target.write(piece)


def _build_of(path: Path, start: int = 0, size: int | None = None) -> GoBuild | None:
    with path.open("rb") as file:
        return go_binary.read_file(file, start, size)


def _build_of_node(node: Node) -> GoBuild | None:
    content = node.content
    if isinstance(content, Span):
        return _build_of(content.path, content.offset, content.size)
    return go_binary.read(content)


def _version(wrapper: GoBuild | None, program: GoBuild | None) -> str:
    """The version that was set in the programs at build time; empty when it was not.

    K3s' release sets a variable through the linker; the stand-in takes Kubernetes' version.
    """
    for build in (wrapper, program):
        if build and (match := _VERSION_FLAG.search(build.linker_flags)):
            return match[1]
    if program and program.module == _STANDIN:
        kubernetes = program.dependency("k8s.io/kubernetes")
        return f"{kubernetes[1]}+standin" if kubernetes else ""
    return ""


def _place(nodes: dict[str, Node], described: dict[str, object]) -> Tree:
    data_hash = described["data_hash"]
    placed: dict[str, Node] = {
        parent: directory(origin=_ORIGIN)
        for parent in ("usr", "usr/bin", "usr/lib", "usr/lib/k3s", DATA, f"{DATA}/{data_hash}")
    }
    placed |= {f"{DATA}/{data_hash}/{path}": _clean(node) for path, node in nodes.items()}
    placed["usr/lib/k3s/current"] = symlink(f"data/{data_hash}", origin=_ORIGIN)
    placed |= {
        f"usr/bin/{name}": symlink(f"../lib/k3s/current/bin/{name}", origin=_ORIGIN)
        for name in COMMANDS
        if f"bin/{name}" in nodes
    }
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    return Tree().with_nodes({**placed, FACTS: file(text.encode())})


def _clean(node: Node) -> Node:
    """Owner root and plain permissions, in place of the build machine's owners and modes."""
    if node.kind is Kind.SYMLINK:
        mode = 0o777
    else:
        mode = 0o755 if node.kind is Kind.DIRECTORY or node.mode & 0o111 else 0o644
    return replace(node, mode=mode, uid=0, gid=0, xattrs=())
