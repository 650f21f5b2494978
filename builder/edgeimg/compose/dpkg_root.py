"""Debian packages merged into one root, as dpkg would: usr-merged, conflicts noticed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeimg.errors import ArchiveError
from edgeimg.sources.deb import Deb
from edgeimg.tree import Kind, Node, Tree, directory, symlink

_MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
"""Directories that are links into /usr (Debian's usr-merge)."""
_ALWAYS = ("bin", "lib", "sbin")
_MOUNT_POINTS = {
    "boot": 0o755,
    "dev": 0o755,
    "efi": 0o755,
    "proc": 0o555,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var": 0o755,
}


def skeleton() -> Tree:
    """The links of the usr-merge and the empty directories that the guest mounts over."""
    nodes = {name: directory(mode=mode) for name, mode in _MOUNT_POINTS.items()}
    nodes |= {name: symlink(f"usr/{name}") for name in _MERGED}
    nodes |= {f"usr/{name}": directory() for name in _MERGED}
    return Tree().with_nodes(nodes)


def merge(debs: Sequence[Deb]) -> Tree:
    """One root from all packages. Their order does not matter.

    Raises ArchiveError when two packages bring different files under one name and neither
    replaces the other by its control fields.
    """
    by_name = {f"package:{deb.name}": deb for deb in debs}
    root = skeleton()
    for deb in sorted(debs, key=lambda deb: deb.name):
        nodes = {
            path: node for path, node in deb.tree.items() if _wins(root, path, node, deb, by_name)
        }
        root = root.merge(Tree(nodes))
    return root.without(lambda path, _: _unused(root, path))


def _wins(root: Tree, path: str, node: Node, mine: Deb, debs: dict[str, Deb]) -> bool:
    """Whether `node` goes into `root`, which may have another package's file in its place."""
    parent, _, name = path.rpartition("/")
    real = "/".join(part for part in (root.resolve(parent), name) if part)
    existing = root.get(real)
    if existing is None or node.kind is Kind.DIRECTORY or existing.kind is Kind.DIRECTORY:
        return True
    if _equal(node, existing):
        return False
    theirs = debs.get(existing.origin)
    if theirs is None or _replaces(mine, theirs):
        return True
    if _replaces(theirs, mine):
        return False
    raise ArchiveError(
        f"/{real} is in both {theirs.name} {theirs.version} and {mine.name} {mine.version}",
        hint="leave one of the packages out: [packages] exclude",
    )


def _equal(first: Node, second: Node) -> bool:
    if (first.kind, first.target, first.size) != (second.kind, second.target, second.size):
        return False
    return first.content == second.content or first.read() == second.read()


def _replaces(deb: Deb, existing: Deb) -> bool:
    names = re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]+)", deb.control.get("Replaces", ""))
    return existing.name in names


def _unused(root: Tree, path: str) -> bool:
    """Links of foreign library directories, where no package has put anything."""
    name = path.removeprefix("usr/")
    return name in _MERGED and name not in _ALWAYS and not root.under(f"usr/{name}")
