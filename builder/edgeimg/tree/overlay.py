"""Directories and files of the host → trees: what a project brings into its images."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeimg.errors import ArchiveError
from edgeimg.streams.limits import UNTRUSTED
from edgeimg.text import bounded
from edgeimg.tree import Content, Node, Span, Tree, directory, file, symlink
from edgeimg.tree.files import walk
from edgeimg.tree.node import changed, stamp_of

_IN_MEMORY = 8 << 20
"""Larger files stay where they are, and are read in pieces."""
_ALL_IN_MEMORY = 64 << 20
"""Of one directory; the files after these stay where they are, too."""
_CHANGES = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.EFBIG)


def from_directory(root: Path, *, origin: str) -> Tree:
    """The tree below a directory of the host: an overlay.

    Owners become root, and modes 0755 or 0644 by the owner's execute bit, so that the result
    does not depend on who checked the files out under which umask. Directories with nothing in
    them are left out: git does not keep them, so another clone would not have them. Raises
    ArchiveError for anything but files, directories and links, for names that are not UTF-8, for
    files that change meanwhile, and beyond the limits for files of others.
    """
    nodes: dict[str, Node] = {}
    homes: dict[str, Node] = {}
    contents = _Contents(root)
    with _unchanged(root):
        for path in walk(root):
            name = _text(path.relative_to(root).as_posix(), path)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                nodes[name] = symlink(_text(str(path.readlink()), path), origin=origin)
            elif stat.S_ISDIR(status.st_mode):
                homes[name] = directory(origin=origin)
            elif stat.S_ISREG(status.st_mode):
                mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                nodes[name] = file(contents.of(path), mode=mode, origin=origin)
            else:
                raise ArchiveError(f"{path} is neither a file, a directory nor a symbolic link")
    needed = {parent for name in nodes for parent in map(str, PurePosixPath(name).parents)}
    return Tree(nodes | {name: node for name, node in homes.items() if name in needed})


def content(path: Path) -> Content:
    """The content of one regular file of the host. Raises ArchiveError; see `from_directory`."""
    with _unchanged(path):
        return _Contents(path).of(path)


@dataclass
class _Contents:
    """Reads files, and counts their bytes."""

    label: Path
    size: int = 0
    in_memory: int = 0

    def of(self, path: Path) -> Content:
        with bounded.opened(path) as source:
            status = os.fstat(source.fileno())
            self.size += status.st_size
            if self.size > UNTRUSTED.bytes:
                raise ArchiveError(
                    f"{self.label}: more than {bounded.size(UNTRUSTED.bytes)}, with {path}"
                )
            if status.st_size > min(_IN_MEMORY, _ALL_IN_MEMORY - self.in_memory):
                return Span(path, 0, status.st_size, stamp_of(status))
            data = source.read(status.st_size + 1)
            if len(data) != status.st_size:
                raise changed(path)
            self.in_memory += len(data)
            return data


@contextlib.contextmanager
def _unchanged(root: Path) -> Iterator[None]:
    """Turns what the operating system says of a path that went away into a clear line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CHANGES:
            raise
        raise changed(Path(error.filename or root)) from error


def _text(name: str, path: Path) -> str:
    """A name or target of a link that every program can read. Raises ArchiveError."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ArchiveError(f"{path}: {name!r} is not UTF-8 text") from None
    return name
