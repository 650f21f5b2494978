"""Collects components and relations for an Sbom."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeimg.sbom.model import Component
from edgeimg.tree import Tree


@dataclass
class Collection:
    """Components by reference, and their relations."""

    components: dict[str, Component] = field(default_factory=dict)
    relations: dict[str, set[str]] = field(default_factory=dict)

    def add(self, component: Component, owner: str) -> str:
        """Add it once, below its owner; returns its reference."""
        self.components.setdefault(component.ref, component)
        self.relate(owner, component.ref)
        return component.ref

    def relate(self, owner: str, member: str) -> None:
        """Note that one contains the other, or needs it."""
        if owner != member:
            self.relations.setdefault(owner, set()).add(member)


def digest_of(root: Tree, path: str) -> str:
    """Hex sha256 of one file of a tree."""
    return Tree({path: root[path]}).digests()[path]
