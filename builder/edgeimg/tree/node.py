"""The nodes of a tree: files, directories and links, with content in memory or in the cache."""

from __future__ import annotations

import dataclasses
import enum
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ArchiveError
from edgeimg.text import bounded

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENXIO)


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
    stamp: tuple[int, ...] = ()
    """Of a file of the project, which may change while it is read; see `stamp_of`."""

    def opened(self) -> BinaryIO:
        """The file. Raises ArchiveError when it is one of the project that has changed."""
        if not self.stamp:
            return self.path.open("rb")
        try:
            file = bounded.opened(self.path)
        except OSError as error:
            if error.errno in _GONE:
                raise changed(self.path) from None
            raise
        try:
            self.require_unchanged(file)
        except ArchiveError:
            file.close()
            raise
        return file

    def require_unchanged(self, file: BinaryIO) -> None:
        """Raises ArchiveError when the project's file, which is open, has changed."""
        if self.stamp and stamp_of(os.fstat(file.fileno())) != self.stamp:
            raise changed(self.path)


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What differs when a file was written to, or is another one."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def changed(path: Path) -> ArchiveError:
    """The error for a file of the project that is not what it was."""
    return ArchiveError(
        f"{path} changed while edgeimg worked with it",
        hint="start again when the file is complete",
    )


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
        with self.content.opened() as file:
            file.seek(self.content.offset)
            data = file.read(self.content.size)
            self.content.require_unchanged(file)
            return data

    def text(self, path: str) -> str:
        """The whole content; `path` names it in the ArchiveError for what is not UTF-8."""
        try:
            return self.read().decode()
        except UnicodeDecodeError:
            raise ArchiveError(f"/{path} of {self.origin} is not UTF-8 text") from None


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
