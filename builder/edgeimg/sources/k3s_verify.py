"""Checks that the files in a K3s binary are complete, unchanged, and for the right machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgeimg.arch import Arch
from edgeimg.errors import ArchiveError, DigestError
from edgeimg.sources import k3s_asset
from edgeimg.tree import Kind, Node, Span

_REQUIRED = ("bin/k3s", "bin/containerd")
_SUMS, _LINKS = "bin/.sha256sums", "bin/.links"
_CHUNK = 1 << 20


def verify(nodes: Mapping[str, Node], arch: Arch, label: str) -> None:
    """Check the files of `bin/` against K3s' own lists, and every program's machine.

    Raises DigestError for a file that differs from the lists, ArchiveError for one that is
    missing or in no list, ArchitectureError for a program of another architecture.
    """
    for name in (*_REQUIRED, _SUMS, _LINKS):
        if name not in nodes:
            raise ArchiveError(f"{label} carries no {name}: it is not a K3s release")
    if nodes["bin/k3s"].kind is not Kind.FILE:
        raise ArchiveError(f"{label}: its bin/k3s is no program")
    sums = _pairs(nodes, _SUMS, label)
    _verify_files(nodes, sums, label)
    _verify_links(nodes, _pairs(nodes, _LINKS, label), label)
    for path, node in nodes.items():
        if node.kind is Kind.FILE and (header := _head(node)).startswith(k3s_asset.ELF_MAGIC):
            k3s_asset.require_machine(header, arch, f"{path} in {label}")


def _verify_files(nodes: Mapping[str, Node], sums: list[tuple[str, str]], label: str) -> None:
    for expected, name in sums:
        node = nodes.get(f"bin/{name}")
        if node is None or node.kind is not Kind.FILE:
            raise ArchiveError(f"{label}: bin/{name} is in its {_SUMS}, but not there")
        if (actual := _sha256(node)) != expected:
            raise DigestError(
                f"{label}: bin/{name} has the sha256 {actual}, its {_SUMS} expects {expected}",
                hint="get the binary once more",
            )
    listed = {f"bin/{name}" for _, name in sums}
    for path, node in nodes.items():
        hidden = any(part.startswith(".") for part in path.split("/"))
        if path.startswith("bin/") and node.kind is Kind.FILE and path not in listed and not hidden:
            raise ArchiveError(f"{label}: its {path} is not in {_SUMS}")


def _verify_links(nodes: Mapping[str, Node], links: list[tuple[str, str]], label: str) -> None:
    for name, expected in links:
        node = nodes.get(f"bin/{name}")
        if node is None or node.kind is not Kind.SYMLINK:
            raise ArchiveError(f"{label}: the link bin/{name} is in its {_LINKS}, but not there")
        if node.target != expected:
            raise DigestError(
                f"{label}: bin/{name} leads to {node.target!r}, its {_LINKS} expects {expected!r}",
                hint="get the binary once more",
            )


def _pairs(nodes: Mapping[str, Node], path: str, label: str) -> list[tuple[str, str]]:
    """The lines of a list as two words each."""
    node = nodes[path]
    if node.kind is not Kind.FILE or node.size > _CHUNK:
        raise ArchiveError(f"{label}: its {path} is no list")
    pairs = []
    for line in node.read().decode("utf-8", "replace").splitlines():
        first, _, second = line.partition(" ")
        if not first or not second.strip():
            raise ArchiveError(f"{label}: malformed line {line!r} in its {path}")
        pairs.append((first, second.strip()))
    if not pairs:
        raise ArchiveError(f"{label}: its {path} is empty")
    return pairs


def _head(node: Node) -> bytes:
    if isinstance(node.content, bytes):
        return node.content[:20]
    with node.content.path.open("rb") as file:
        file.seek(node.content.offset)
        return file.read(min(20, node.size))


def _sha256(node: Node) -> str:
    if not isinstance(node.content, Span):
        return hashlib.sha256(node.content).hexdigest()
    digest = hashlib.sha256()
    with node.content.path.open("rb") as file:
        file.seek(node.content.offset)
        remaining = node.size
        while remaining and (chunk := file.read(min(_CHUNK, remaining))):
            digest.update(chunk)
            remaining -= len(chunk)
    return digest.hexdigest()
