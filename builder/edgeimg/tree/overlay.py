"""Directories of the host → trees: what a project brings into its images."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from edgeimg.errors import ArchiveError
from edgeimg.tree import Content, Node, Span, Tree, directory, file, symlink
from edgeimg.tree.files import walk

_IN_MEMORY = 8 << 20
"""Larger files stay where they are, and are read in pieces."""


def from_directory(root: Path, *, origin: str) -> Tree:
    """The tree below a directory of the host: an overlay.

    Owners become root, and modes 0755 or 0644 by the owner's execute bit, so that the result
    does not depend on who checked the files out under which umask. Directories with nothing in
    them are left out: git does not keep them, so another clone would not have them. Raises
    ArchiveError for anything but files, directories and links.
    """
    nodes: dict[str, Node] = {}
    homes: dict[str, Node] = {}
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            nodes[name] = symlink(str(path.readlink()), origin=origin)
        elif stat.S_ISDIR(status.st_mode):
            homes[name] = directory(origin=origin)
        elif stat.S_ISREG(status.st_mode):
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            content = _content(path, status.st_size)
            nodes[name] = file(content, mode=mode, origin=origin)
        else:
            raise ArchiveError(f"{path} is neither a file, a directory nor a symbolic link")
    needed = {parent for name in nodes for parent in map(str, PurePosixPath(name).parents)}
    return Tree(nodes | {name: node for name, node in homes.items() if name in needed})


def _content(path: Path, size: int) -> Content:
    return path.read_bytes() if size <= _IN_MEMORY else Span(path, 0, size)
