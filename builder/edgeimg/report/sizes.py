"""The contents of the root: groups → components → files, for the treemap and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from edgeimg.image.manifest import Manifest
from edgeimg.report.facts import ImageFacts
from edgeimg.report.text import clean, human, percent

GROUPS = {
    "k3s": "K3s",
    "kernel": "Kernel modules",
    "package": "Debian packages",
    "images": "Container images",
    "overlay": "Overlays",
    "other": "Made by edgeimg",
}
"""By the part before the `:` of a component's name."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A component in the table."""

    group: str
    name: str
    note: str
    size: str
    share: float


class _Part(TypedDict):
    """A component in the treemap; its files as {path: bytes}."""

    name: str
    note: str
    size: int
    files: Mapping[str, int]


class _Group(TypedDict):
    name: str
    key: str
    size: int
    children: list[_Part]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One image's root."""

    arch: str
    total: str
    packed: str
    """Bytes that the root takes on the disk, compressed."""
    rows: tuple[Row, ...]
    tree: Mapping[str, object]
    """For the script: name, key, size, note, children; a component's files as {path: bytes}."""


def sizes(image: ImageFacts) -> Sizes:
    """The content of one root, largest first."""
    contents, files = image.manifest.contents, _files(image.manifest)
    components = contents.components
    notes = {package.name: package.version for package in contents.packages}
    notes["k3s"] = contents.k3s.version if contents.k3s else ""
    notes["kernel"] = contents.kernel
    total = sum(components.values())
    ranked = sorted(components.items(), key=lambda item: (-item[1], item[0]))
    groups: dict[str, list[_Part]] = {}
    rows = []
    for component, size in ranked:
        group, name = _place(component)
        note = notes.get(name, "")
        groups.setdefault(group, []).append(
            {"name": clean(name), "note": note, "size": size, "files": files.get(component, {})}
        )
        rows.append(
            Row(
                group=group, name=name, note=note, size=human(size), share=percent(size, total)
            )
        )  # fmt: skip
    return Sizes(
        arch=image.arch,
        total=human(total),
        packed=human(image.sizes["root"]) if "root" in image.sizes else "",
        rows=tuple(rows),
        tree={"name": image.arch, "size": total, "children": _tree(groups)},
    )


def _tree(groups: Mapping[str, list[_Part]]) -> list[_Group]:
    nodes: list[_Group] = []
    for key, label in GROUPS.items():
        parts = groups.get(key, [])
        size = sum(part["size"] for part in parts)
        if size:
            nodes.append({"name": label, "key": key, "size": size, "children": parts})
    return sorted(nodes, key=lambda group: -group["size"])


def _place(component: str) -> tuple[str, str]:
    kind, _, name = component.partition(":")
    return (kind if kind in GROUPS else "other"), name or kind


def _files(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Bytes by path, by component. Manifests of older versions list no files."""
    files: dict[str, dict[str, int]] = {}
    for path, facts in (manifest.files or {}).items():
        files.setdefault(facts.origin, {})[clean(path)] = facts.size
    return files
