"""A root filesystem as data: an immutable, ordered mapping of path to node.

Paths are relative, normalised and use `/`: `usr/bin/k3s`. The root directory is implied.
Content is either in memory or a span of a cached file, so a tree of hundreds of megabytes
costs little memory, and is written once, as a canonical tar.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from edgeimg.errors import ArchiveError
from edgeimg.streams import sparse
from edgeimg.streams.decoding import chunks
from edgeimg.tree.files import Reader, root_info, tar_info
from edgeimg.tree.node import (
    Content,
    Kind,
    Node,
    Span,
    directory,
    file,
    normalise,
    replace,
    symlink,
)

__all__ = [
    "Content",
    "Kind",
    "Node",
    "Span",
    "Tree",
    "directory",
    "file",
    "normalise",
    "replace",
    "resolve",
    "symlink",
    "union",
]

MAX_SYMLINKS = 40
_NOTHING = hashlib.sha256().hexdigest()


class Tree:
    """An immutable file tree. Every operation returns a new one."""

    def __init__(self, nodes: Mapping[str, Node] | None = None) -> None:
        self._nodes: Mapping[str, Node] = MappingProxyType(dict(nodes or {}))
        self._sorted: list[tuple[str, Node]] | None = None

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def __getitem__(self, path: str) -> Node:
        return self._nodes[path]

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, path: str) -> Node | None:
        """The node at exactly `path`; symbolic links are not followed."""
        return self._nodes.get(path)

    def items(self) -> list[tuple[str, Node]]:
        """All nodes in canonical order: by path components, so parents precede children."""
        if self._sorted is None:
            self._sorted = sorted(self._nodes.items(), key=lambda item: item[0].split("/"))
        return list(self._sorted)

    def under(self, prefix: str) -> list[tuple[str, Node]]:
        """The nodes below the directory `prefix` (itself excluded), in canonical order."""
        nodes, start = self.items(), prefix.rstrip("/") + "/"
        first = bisect.bisect_left(nodes, start.split("/"), key=lambda item: item[0].split("/"))
        last = first
        while last < len(nodes) and nodes[last][0].startswith(start):
            last += 1
        return nodes[first:last]

    def resolve(self, path: str) -> str:
        """See `resolve`."""
        return resolve(self._nodes, path)

    def read(self, path: str) -> bytes:
        """The content of the file that `path` leads to. Raises KeyError for a path to no file."""
        return self._nodes[self.resolve(path)].read()

    def with_nodes(self, nodes: Mapping[str, Node]) -> Tree:
        """A tree with `nodes` added or replaced; missing parent directories are made."""
        merged = dict(self._nodes)
        merged.update(nodes)
        for path in nodes:
            parent = path.rpartition("/")[0]
            while parent and parent not in merged:
                merged[parent] = directory()
                parent = parent.rpartition("/")[0]
        return Tree(merged)

    def merge(self, other: Tree) -> Tree:
        """A tree with everything of `other` on top; `other`'s directories keep our metadata.

        Links to directories on our side are followed (an overlay's `bin/x` lands in `usr/bin`
        when `bin` links there).
        """
        added: dict[str, Node] = {}
        homes: dict[str, str] = {"": ""}
        for path, node in other.items():
            parent, _, name = path.rpartition("/")
            if parent not in homes:
                homes[parent] = self.resolve(parent)
            real = f"{homes[parent]}/{name}" if homes[parent] else name
            mine = added.get(real) or self._nodes.get(real)
            if mine is not None and node.kind is Kind.DIRECTORY:
                if mine.kind is Kind.DIRECTORY or self._is_directory_link(real):
                    continue
                raise ArchiveError(
                    f"/{real} is a directory in {node.origin}, but not in {mine.origin}"
                )
            if mine is not None and mine.kind is Kind.DIRECTORY:
                raise ArchiveError(
                    f"/{real} is a directory in {mine.origin}, but not in {node.origin}"
                )
            added[real] = node
        return self.with_nodes(added)

    def without(self, drop: Callable[[str, Node], bool]) -> Tree:
        """A tree less the nodes that `drop` names, and less everything below those."""
        kept: dict[str, Node] = {}
        gone: set[str] = set()
        for path, node in self.items():
            parent = path.rpartition("/")[0]
            if parent in gone or drop(path, node):
                gone.add(path)
            else:
                kept[path] = node
        return Tree(kept)

    def map(self, change: Callable[[str, Node], Node]) -> Tree:
        """A tree with every node replaced by what `change` makes of it."""
        return Tree({path: change(path, node) for path, node in self._nodes.items()})

    def size(self) -> int:
        """Bytes of content of all files."""
        return sum(node.size for node in self._nodes.values())

    def size_by_origin(self, *, share: str) -> dict[str, int]:
        """Bytes of content by what brought them, largest first.

        Twins (see `twins`) of what is below the directory `share` count once, outside of it where
        that is possible.
        """
        again: set[str] = set()
        for group in self.twins(share):
            counted = next((path for path in group if not path.startswith(f"{share}/")), group[0])
            again |= set(group) - {counted}
        sizes: dict[str, int] = {}
        for path, node in self._nodes.items():
            size = 0 if path in again else node.size
            sizes[node.origin] = sizes.get(node.origin, 0) + size
        return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))

    def twins(self, below: str) -> list[list[str]]:
        """Groups of files with the same content and metadata, one of each below `below`.

        Paths are in canonical order. Told from where contents lie in the cache: packages that are
        unpacked once and merged twice count, files that merely happen to be equal may not.
        """
        shared = {_identity(node): list[str]() for _, node in self.under(below) if node.size}
        for path, node in self.items():
            if node.size and (group := shared.get(_identity(node))) is not None:
                group.append(path)
        return [group for group in shared.values() if len(group) > 1]

    def write_tar(self, output: BinaryIO, *, mtime: int, share: str = "") -> None:
        """Write the canonical tar: sorted, numeric owners, every time stamp `mtime` (s).

        The format is POSIX.1-2001 (pax); extended attributes are `SCHILY.xattr.*` records. Twins
        of what is below the directory `share` are hard links to the first of them.
        """
        links = {path: group[0] for group in self.twins(share) for path in group[1:]}
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(root_info(mtime))
            with Reader() as reader:
                for path, node in self.items():
                    info = tar_info(path, node, mtime)
                    if path in links:
                        info.type, info.linkname, info.size = tarfile.LNKTYPE, links[path], 0
                        tar.addfile(info)
                    else:
                        tar.addfile(info, reader.open(node.content) if node.size else None)

    def digest(self) -> str:
        """Hex sha256 of everything the canonical tar would say, time stamps aside."""
        total = hashlib.sha256()
        contents = self.digests()
        for path, node in self.items():
            facts = (
                path,
                node.kind.value,
                node.mode,
                node.uid,
                node.gid,
                node.target,
                node.xattrs,
                contents.get(path, _NOTHING),
            )
            total.update(repr(facts).encode())
        return total.hexdigest()

    def digests(self) -> dict[str, str]:
        """Hex sha256 of every file's content, by path in canonical order."""
        found: dict[str, str] = {}
        with Reader() as reader:
            for path, node in self.items():
                if node.kind is not Kind.FILE:
                    continue
                content = hashlib.sha256()
                stream = reader.open(node.content)
                while chunk := stream.read(1 << 20):
                    content.update(chunk)
                found[path] = content.hexdigest()
        return found

    def extract(self, destination: Path) -> None:
        """Write the tree to the host as its caller's files (owners and xattrs are dropped).

        Only for trees whose programs the host runs (the tools tree). Set-id bits are dropped,
        and nothing is written through a symbolic link.
        """
        destination.mkdir(parents=True, exist_ok=True)
        with Reader() as reader:
            for path, node in self.items():
                target = destination / path
                if node.kind is Kind.DIRECTORY:
                    target.mkdir(mode=0o755, exist_ok=True)
                elif node.kind is Kind.SYMLINK:
                    target.symlink_to(node.target)
                else:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                    mode = 0o755 if node.mode & stat.S_IXUSR else 0o644
                    with os.fdopen(os.open(target, flags, mode), "wb") as out:
                        sparse.write(chunks(reader.open(node.content), 1 << 16), out)

    def _is_directory_link(self, path: str) -> bool:
        node = self._nodes.get(self.resolve(path))
        return node is not None and node.kind is Kind.DIRECTORY


def resolve(nodes: Mapping[str, Node], path: str) -> str:
    """Follow symbolic links in every component of `path`, within the tree of `nodes`.

    Components that do not exist are kept. Raises ArchiveError for a loop of links.
    """
    pending = path.strip("/").split("/")[::-1]
    done: list[str] = []
    followed = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        node = nodes.get("/".join([*done, part]))
        if node is None or node.kind is not Kind.SYMLINK:
            done.append(part)
            continue
        followed += 1
        if followed > MAX_SYMLINKS:
            raise ArchiveError(f"/{path} is a loop of symbolic links")
        if node.target.startswith("/"):
            done = []
        pending.extend(node.target.split("/")[::-1])
    return "/".join(done)


def _identity(node: Node) -> object:
    return node.kind, node.mode, node.uid, node.gid, node.xattrs, node.content


def union(trees: Iterable[Tree]) -> Tree:
    """All trees merged, later ones on top."""
    result = Tree()
    for tree in trees:
        result = result.merge(tree)
    return result
