"""A root filesystem as data: an immutable, ordered mapping of path to node.

Paths are relative, normalised and use `/`: `usr/bin/k3s`. The root directory is implied.
Content is either in memory or a span of a cached file, so a tree of hundreds of megabytes
costs little memory, and is written once, as a canonical tar.
"""

from __future__ import annotations

import bisect
import dataclasses
import enum
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from builder.errors import ArchiveError

MAX_SYMLINKS = 40


class Kind(enum.Enum):
    """The node types an image may contain; devices and sockets are made by the guest."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes at `offset` of the file at `path`."""

    path: Path
    offset: int
    size: int


Content = bytes | Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One file, directory or symbolic link; `mode` holds permission bits only (07777)."""

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    content: Content = b""
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    origin: str = ""
    """What brought it: `package:NAME`, `k3s`, `overlay:NAME`, `edgeimg`; sizes are told by it."""

    @property
    def size(self) -> int:
        """Bytes of content (0 for directories and links)."""
        return self.content.size if isinstance(self.content, Span) else len(self.content)

    def read(self) -> bytes:
        """The whole content."""
        if isinstance(self.content, bytes):
            return self.content
        with self.content.path.open("rb") as file:
            file.seek(self.content.offset)
            return file.read(self.content.size)


def file(content: Content, *, mode: int = 0o644, origin: str = "edgeimg") -> Node:
    """A regular file of root's."""
    return Node(kind=Kind.FILE, mode=mode, content=content, origin=origin)


def directory(*, mode: int = 0o755, origin: str = "edgeimg") -> Node:
    """A directory of root's."""
    return Node(kind=Kind.DIRECTORY, mode=mode, origin=origin)


def symlink(target: str, *, origin: str = "edgeimg") -> Node:
    """A symbolic link of root's."""
    return Node(kind=Kind.SYMLINK, mode=0o777, target=target, origin=origin)


def normalise(name: str) -> str:
    """A tree path from a name found in an archive or a recipe.

    A leading `/` or `./` is dropped. Raises ArchiveError for names that climb out with `..`
    or hold a NUL.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ArchiveError(f"the path {name!r} leaves its tree")
    return "/".join(parts)


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
        """Follow symbolic links in every component of `path`, within the tree.

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
            node = self._nodes.get("/".join([*done, part]))
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

    def read(self, path: str) -> bytes:
        """The content of the file that `path` leads to. Raises KeyError when there is none."""
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

    def size_by_origin(self) -> dict[str, int]:
        """Bytes of content by what brought them, largest first."""
        sizes: dict[str, int] = {}
        for node in self._nodes.values():
            sizes[node.origin] = sizes.get(node.origin, 0) + node.size
        return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))

    def write_tar(self, output: BinaryIO, *, mtime: int) -> None:
        """Write the canonical tar: sorted, numeric owners, every time stamp `mtime` (s).

        The format is POSIX.1-2001 (pax); extended attributes are `SCHILY.xattr.*` records.
        """
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(_root_info(mtime))
            with _Reader() as reader:
                for path, node in self.items():
                    info = _tar_info(path, node, mtime)
                    tar.addfile(info, reader.open(node.content) if node.size else None)

    def digest(self) -> str:
        """Hex sha256 of everything the canonical tar would say, time stamps aside."""
        total = hashlib.sha256()
        with _Reader() as reader:
            for path, node in self.items():
                content = hashlib.sha256()
                stream = reader.open(node.content)
                while chunk := stream.read(1 << 20):
                    content.update(chunk)
                facts = (
                    path,
                    node.kind.value,
                    node.mode,
                    node.uid,
                    node.gid,
                    node.target,
                    node.xattrs,
                    content.hexdigest(),
                )
                total.update(repr(facts).encode())
        return total.hexdigest()

    def extract(self, destination: Path) -> None:
        """Write the tree to the host as its caller's files (owners and xattrs are dropped).

        Only for trees whose programs the host runs (the tools tree). Set-id bits are dropped,
        and nothing is written through a symbolic link.
        """
        destination.mkdir(parents=True, exist_ok=True)
        with _Reader() as reader:
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
                        _copy_sparse(reader.open(node.content), out)

    def _is_directory_link(self, path: str) -> bool:
        node = self._nodes.get(self.resolve(path))
        return node is not None and node.kind is Kind.DIRECTORY


def from_directory(root: Path, *, origin: str) -> Tree:
    """The tree below a directory of the host: an overlay.

    Owners become root, and modes 0755 or 0644 by the owner's execute bit, so that the result
    does not depend on who checked the files out under which umask. Raises ArchiveError for
    anything but files, directories and links.
    """
    nodes: dict[str, Node] = {}
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            nodes[name] = symlink(str(path.readlink()), origin=origin)
        elif stat.S_ISDIR(status.st_mode):
            nodes[name] = directory(origin=origin)
        elif stat.S_ISREG(status.st_mode):
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            nodes[name] = file(path.read_bytes(), mode=mode, origin=origin)
        else:
            raise ArchiveError(f"{path} is neither a file, a directory nor a symbolic link")
    return Tree(nodes)


def _walk(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _copy_sparse(source: BinaryIO, target: BinaryIO) -> None:
    """Copy, with holes for zeros: QEMU's ARM firmware is 2 MB in files of 64."""
    while chunk := source.read(1 << 16):
        if chunk.count(0) == len(chunk):
            target.seek(len(chunk), os.SEEK_CUR)
        else:
            target.write(chunk)
    target.truncate()


def _root_info(mtime: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo("./")
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, mtime
    return info


def _tar_info(path: str, node: Node, mtime: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mode, info.uid, info.gid, info.mtime = node.mode, node.uid, node.gid, mtime
    info.uname = info.gname = ""
    if node.kind is Kind.DIRECTORY:
        info.type = tarfile.DIRTYPE
    elif node.kind is Kind.SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, node.target
    else:
        info.size = node.size
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in node.xattrs
    }
    return info


class _Reader:
    """Opens contents, keeping the last few files open: spans of one archive come in a row."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for open_file in self._files.values():
            open_file.close()

    def open(self, content: Content) -> BinaryIO:
        """A stream of exactly the content's bytes."""
        if isinstance(content, bytes):
            return io.BytesIO(content)
        if content.path not in self._files:
            if len(self._files) >= 64:
                self._files.pop(next(iter(self._files))).close()
            self._files[content.path] = content.path.open("rb")
        source = self._files[content.path]
        source.seek(content.offset)
        return _Window(source, content.size)  # type: ignore[return-value]


class _Window:
    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes of what is left."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._source.read(wanted)
        self._left -= len(data)
        return data


def replace(node: Node, **changes: object) -> Node:
    """`dataclasses.replace` for nodes."""
    return dataclasses.replace(node, **changes)  # type: ignore[arg-type]


def union(trees: Iterable[Tree]) -> Tree:
    """All trees merged, later ones on top."""
    result = Tree()
    for tree in trees:
        result = result.merge(tree)
    return result
