"""Links to busybox's programs (its applets), which the package does not contain.

busybox holds the names of its applets as one table in its read-only data, sorted, each ended by a
NUL (its applets/applet_tables.c). The table is read from the file; nothing of it runs here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgeimg.compose.prune import prune
from edgeimg.errors import ArchiveError
from edgeimg.text import typed
from edgeimg.tree import Kind, Tree, symlink

BUSYBOX = "usr/bin/busybox"
_DIRECTORIES = ("usr/bin", "usr/sbin")
"""Where a program of the same name may be."""
_ELF = b"\x7fELF"
_NAME = rb"(?:\[\[?|[a-z][a-z0-9_.+-]{0,31})\0"
_TABLE = re.compile(rb"(?:" + _NAME + rb"){20,}")
_ALWAYS = frozenset((b"cat", b"ls", b"mv"))
"""In every configuration that is of use; no other list in the program has all of them in order."""


@dataclass(frozen=True)
class _Rule:
    names: tuple[str, ...]


def exclusions() -> frozenset[str]:
    """Applets that get no link (applets.toml)."""
    rules = typed.data_file(__file__, "applets", dict[str, tuple[_Rule, ...]])
    return frozenset(name for rule in rules["leave"] for name in rule.names)


def link_applets(tree: Tree, patterns: Iterable[str] = ()) -> Tree:
    """The tree with a link to busybox for each of its applets that no other file provides.

    Applets of applets.toml get none, nor do those whose path a glob of `patterns` or edgeimg's own
    list prunes (see `prune`). Raises ArchiveError when busybox has no table of applets.
    """
    node = tree.get(BUSYBOX)
    if node is None or node.kind is not Kind.FILE:
        return tree
    program = node.read()
    if not program.startswith(_ELF):  # a script of a project's overlay
        return tree
    excluded = exclusions()
    names = [
        name
        for name in applets(program)
        if name not in excluded and not any(f"{place}/{name}" in tree for place in _DIRECTORIES)
    ]
    link = symlink("busybox")
    links = Tree({f"{place}/{name}": link for place in _DIRECTORIES for name in names})
    remaining = prune(links, patterns)
    return tree.with_nodes(
        {
            f"usr/bin/{name}": link
            for name in names
            if all(f"{place}/{name}" in remaining for place in _DIRECTORIES)
        }
    )


def applets(program: bytes) -> tuple[str, ...]:
    """The names of all applets, from the file of busybox. Raises ArchiveError without a table."""
    tables = [
        table
        for match in _TABLE.finditer(program)
        for table in _ascending(match[0].split(b"\0")[:-1])
        if set(table) >= _ALWAYS
    ]
    if not tables:
        raise ArchiveError(
            f"/{BUSYBOX} has no table of applets to make links of",
            hint="bring the links in an overlay, and busybox under another name",
        )
    return tuple(name.decode() for name in max(tables, key=len))


def _ascending(names: list[bytes]) -> Iterable[list[bytes]]:
    """The list in pieces, each sorted. Bytes before and after the table are not sorted."""
    start = 0
    for at in range(1, len(names) + 1):
        if at == len(names) or names[at - 1] >= names[at]:
            yield names[start:at]
            start = at
