"""The nodes of a tree: files, directories and links, with content in memory or in the cache."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path

from edgeimg.errors import ArchiveError


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
    """What brought it: `package:NAME`, `k3s`, `overlay:NAME`, `edgeimg`; sizes are summed by it."""

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


def replace(node: Node, **changes: object) -> Node:
    """`dataclasses.replace` for nodes."""
    return dataclasses.replace(node, **changes)  # type: ignore[arg-type]
