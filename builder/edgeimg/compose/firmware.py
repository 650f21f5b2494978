"""Firmware of the root: the files that a recipe names, and those that its kernel modules ask for.

A module lists the files that it asks for in the `firmware=` entries of `.modinfo`; some of them
are globs. The kernel looks below /usr/lib/firmware and takes `NAME.xz` and `NAME.zst` for `NAME`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeimg.compose.kernel import Kernel, asked_firmware
from edgeimg.errors import RecipeError
from edgeimg.recipe.tables import Firmware
from edgeimg.sources.deb import Deb
from edgeimg.tree import Kind, Node, Tree, union

DIRECTORY = "usr/lib/firmware"
_VERSIONED = re.compile(r"(?P<name>iwlwifi-.+-)(?P<number>\d+)\.ucode")
PACKED = re.compile(r"\.(xz|zst)$")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The firmware of one image."""

    files: Tree
    missing: dict[str, tuple[str, ...]]
    """By module: what it asks for, and no package has."""


def select(wanted: Firmware, debs: Sequence[Deb], kernel: Kernel) -> Selection:
    """The firmware that `wanted` names, out of the packages `debs`, at its place in the root.

    With the files that symbolic links lead to. Raises RecipeError for a glob over files or a
    module that fits nothing.
    """
    held = Tree(dict(union(deb.tree for deb in debs).under(DIRECTORY)))
    names = {PACKED.sub("", path.removeprefix(f"{DIRECTORY}/")): path for path in _files(held)}
    if not wanted.modules and not wanted.files:
        return Selection(files=held, missing={})
    chosen: set[str] = set()
    for glob in wanted.files:
        fits = _fitting(glob, names)
        if not fits:
            raise RecipeError(
                f"firmware.files: {glob!r} fits no file of {', '.join(wanted.packages)}",
                hint="globs are over paths below /usr/lib/firmware; firmware.packages names the "
                "packages",
            )
        chosen |= fits
    missing: dict[str, tuple[str, ...]] = {}
    for module, asked in asked_firmware(kernel, wanted.modules).items():
        found = {name: answers(name, names) for name in asked}
        lacking = tuple(name for name in asked if not found[name])
        chosen |= {one for several in found.values() for one in several}
        if lacking:
            missing[module] = lacking
    nodes: dict[str, Node] = {}
    for name in chosen:
        nodes |= _with_targets(held, names[name])
    return Selection(files=Tree().with_nodes(nodes), missing=missing)


def _files(held: Tree) -> list[str]:
    """Paths of files, and of links that lead to one."""
    found = []
    for path, node in held.items():
        target = held.get(held.resolve(path))
        if node.kind is not Kind.DIRECTORY and target is not None and target.kind is Kind.FILE:
            found.append(path)
    return found


def answers(name: str, names: Collection[str]) -> set[str]:
    """What a module gets for `name`, out of `names`: paths below /usr/lib/firmware.

    iwlwifi names the newest version that it knows, and asks for older ones when that is not there
    (`iwlwifi-cc-a0-77.ucode`, then `-76`).
    """
    if (found := _fitting(name, names)) or not (version := _VERSIONED.fullmatch(name)):
        return found
    others = [other for one in names if (other := _VERSIONED.fullmatch(one))]
    older = [
        other
        for other in others
        if other["name"] == version["name"] and int(other["number"]) < int(version["number"])
    ]
    return {other.string for other in sorted(older, key=lambda o: int(o["number"]))[-1:]}


def _fitting(glob: str, names: Iterable[str]) -> set[str]:
    if not any(char in glob for char in "*?["):
        return {glob} & set(names)
    return {name for name in names if fnmatchcase(name, glob)}


def _with_targets(held: Tree, path: str) -> dict[str, Node]:
    """The node at `path`, and all that its links lead to, with these links."""
    nodes: dict[str, Node] = {}
    pending = [path]
    while pending:
        parts = pending.pop().split("/")
        for end in range(1, len(parts) + 1):
            place = "/".join(parts[:end])
            node = held.get(place)
            if node is None or node.kind is Kind.DIRECTORY:
                continue
            nodes[place] = node
            if node.kind is Kind.SYMLINK:
                target = posixpath.join("/", *parts[: end - 1], node.target, *parts[end:])
                pending.append(posixpath.normpath(target).lstrip("/"))
                break
    return nodes
