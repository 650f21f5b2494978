"""The overlays of an image without K3s: its files and units go, those of `no-k3s` come.

Files that another overlay than `base` has put there stay. The list is without_k3s.toml.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgeimg.text import typed
from edgeimg.tree import Kind, Node, Tree, replace

BASE = "overlay:base"
APPENDED = ".append"
"""A file with this suffix is appended to the file of the name before it."""
_UNITS = "usr/lib/systemd/system/"
_PRESETS = "usr/lib/systemd/system-preset/"
_ORDER = ("After", "Before", "BindsTo", "PartOf", "Requires", "Wants")
"""Keys of units whose values are names of units (systemd.unit(5))."""


@dataclass(frozen=True, kw_only=True)
class _Absent:
    paths: tuple[str, ...]
    links: tuple[str, ...]


def adapt(files: Tree, part: Tree) -> Tree:
    """The overlays `files` without what is for K3s alone, and `part` in its place."""
    absent = typed.data_file(__file__, "without_k3s", _Absent)
    units = {path.removeprefix(_UNITS) for path in absent.paths if path.startswith(_UNITS)}

    def is_unwanted(path: str, node: Node) -> bool:
        below = any(path == one or path.startswith(f"{one}/") for one in absent.paths)
        if node.kind is Kind.DIRECTORY:
            return False
        return (below and node.origin == BASE) or (
            path in absent.links and node.kind is Kind.SYMLINK
        )

    kept = _without_empty(files, files.without(is_unwanted))
    changed = {
        path: replace(node, content=_without_units(path, node, units))
        for path, node in kept.items()
        if node.origin == BASE and node.kind is Kind.FILE and path.startswith((_UNITS, _PRESETS))
    }
    return _with_part(kept.with_nodes(changed), part)


def _without_empty(before: Tree, after: Tree) -> Tree:
    """The tree without directories that have lost all their files."""
    return after.without(
        lambda path, node: (
            node.kind is Kind.DIRECTORY
            and bool(before.under(path))
            and not any(inner.kind is not Kind.DIRECTORY for _, inner in after.under(path))
        )
    )


def _without_units(path: str, node: Node, units: Collection[str]) -> bytes:
    """The text of a unit or a preset, less the names of absent units, less lines left empty."""
    lines = []
    for line in node.text(path).splitlines(keepends=True):
        if path.startswith(_PRESETS):
            words = line.split()
            if len(words) == 2 and words[0] == "enable" and words[1] in units:
                continue
        key, equals, value = line.partition("=")
        if equals and key in _ORDER:
            names = [name for name in value.split() if name not in units]
            if not names:
                continue
            if len(names) != len(value.split()):
                line = f"{key}={' '.join(names)}\n"
        lines.append(line)
    return "".join(lines).encode()


def _with_part(files: Tree, part: Tree) -> Tree:
    """`part` on top of the files of `base`: those of other overlays win."""
    nodes: dict[str, Node] = {}
    for path, node in part.items():
        name = path.removesuffix(APPENDED)
        mine = files.get(name)
        if node.kind is Kind.DIRECTORY or (mine is not None and mine.origin != BASE):
            continue
        if name != path:
            if mine is not None:
                nodes[name] = replace(mine, content=mine.read() + b"\n" + node.read())
        else:
            nodes[path] = node
    return files.with_nodes(nodes)
