"""Firmware of the root: the files that a recipe names, and those that its kernel modules request.

A module lists the files that it requests in the `firmware=` entries of `.modinfo`; some of them
are globs. The kernel looks below /usr/lib/firmware and takes `NAME.xz` and `NAME.zst` for `NAME`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeimg.compose.kernel_deb import Kernel, module_firmware
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
    """By module: the files that it requests and no package has."""


def select(request: Firmware, debs: Sequence[Deb], kernel: Kernel) -> Selection:
    """The firmware that `request` names, out of the packages `debs`, at its place in the root.

    With the files that symbolic links lead to. Raises RecipeError for a glob over files or a
    module pattern that fits no module.
    """
    files = Tree(dict(union(deb.tree for deb in debs).under(DIRECTORY)))
    names = {PACKED.sub("", path.removeprefix(f"{DIRECTORY}/")): path for path in _files(files)}
    if not request.modules and not request.files:
        return Selection(files=files, missing={})
    selected: set[str] = set()
    for glob in request.files:
        fits = _fitting(glob, names)
        if not fits:
            raise RecipeError(
                f"firmware.files: {glob!r} fits no file of {', '.join(request.packages)}",
                hint="globs are over paths below /usr/lib/firmware; firmware.packages names the "
                "packages",
            )
        selected |= fits
    missing: dict[str, tuple[str, ...]] = {}
    for module, requested in module_firmware(kernel, request.modules).items():
        matches = {name: matching(name, names) for name in requested}
        lacking = tuple(name for name in requested if not matches[name])
        selected |= {file for several in matches.values() for file in several}
        if lacking:
            missing[module] = lacking
    nodes: dict[str, Node] = {}
    for name in selected:
        nodes |= _with_targets(files, names[name])
    return Selection(files=Tree().with_nodes(nodes), missing=missing)


def _files(tree: Tree) -> list[str]:
    """Paths of files, and of links that lead to one."""
    files = []
    for path, node in tree.items():
        target = tree.get(tree.resolve(path))
        if node.kind is not Kind.DIRECTORY and target is not None and target.kind is Kind.FILE:
            files.append(path)
    return files


def matching(name: str, names: Collection[str]) -> set[str]:
    """The files that a module gets for `name`, out of `names`: paths below /usr/lib/firmware.

    iwlwifi names the newest version that it supports, and requests older ones when it is missing
    (`iwlwifi-cc-a0-77.ucode`, then `-76`).
    """
    if (matches := _fitting(name, names)) or not (version := _VERSIONED.fullmatch(name)):
        return matches
    versions = [candidate for file in names if (candidate := _VERSIONED.fullmatch(file))]
    older = [
        candidate
        for candidate in versions
        if candidate["name"] == version["name"]
        and int(candidate["number"]) < int(version["number"])
    ]
    return {candidate.string for candidate in sorted(older, key=lambda o: int(o["number"]))[-1:]}


def _fitting(glob: str, names: Iterable[str]) -> set[str]:
    if not any(char in glob for char in "*?["):
        return {glob} & set(names)
    return {name for name in names if fnmatchcase(name, glob)}


def _with_targets(tree: Tree, path: str) -> dict[str, Node]:
    """The node at `path`, and all that its links lead to, with these links."""
    nodes: dict[str, Node] = {}
    pending = [path]
    while pending:
        parts = pending.pop().split("/")
        for end in range(1, len(parts) + 1):
            place = "/".join(parts[:end])
            node = tree.get(place)
            if node is None or node.kind is Kind.DIRECTORY:
                continue
            nodes[place] = node
            if node.kind is Kind.SYMLINK:
                target = posixpath.join("/", *parts[: end - 1], node.target, *parts[end:])
                pending.append(posixpath.normpath(target).lstrip("/"))
                break
    return nodes
