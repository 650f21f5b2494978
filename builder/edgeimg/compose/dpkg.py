"""The package database of the image, for people, SBOM tools and scanners.

/var is a partition of the device at run time, so the database is in /usr/lib/dpkg-db. Scanners
that read an image rather than a running system look at `var/lib/dpkg/status`: in the image that
is a link to it, which the data partition covers.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeimg.tree import Node, Tree, file, symlink

DATABASE = "usr/lib/dpkg-db"
_SCANNED = "var/lib/dpkg"
_OMITTED = ("Installed-Size", "Recommends", "Suggests", "Enhances", "Tag", "Task")
"""Fields that do not describe the installed files."""


def add_database(tree: Tree, controls: Iterable[str]) -> Tree:
    """The tree with the status of packages, given their control files."""
    paragraphs = sorted(status(control) for control in controls)
    nodes: dict[str, Node] = {
        f"{DATABASE}/status": file("\n".join(paragraphs).encode()),
        f"{_SCANNED}/status": symlink(f"../../../{DATABASE}/status"),
    }
    return tree.with_nodes(nodes)


def status(control: str) -> str:
    """The paragraph of an installed package in dpkg's status file (deb-control(5), dpkg(1))."""
    lines: list[str] = []
    omitted = False
    for line in control.splitlines():
        name = line.partition(":")[0]
        if not line.startswith((" ", "\t")):
            omitted = name in _OMITTED
        if line.strip() and not omitted:
            lines.append(line)
        if name == "Package":
            lines.append("Status: install ok installed")
    return "\n".join(lines) + "\n"
