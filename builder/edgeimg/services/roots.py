"""Splits a finished root into the gateway's own and those of its containers."""

from __future__ import annotations

import re

from edgeimg.services.layout import CONTAINERS, ROOTFS
from edgeimg.tree import Node, Tree

_INSIDE = re.compile(rf"({CONTAINERS}/[^/]+/[^/]+/{ROOTFS})/")


def roots(tree: Tree) -> list[tuple[str, Tree]]:
    """Every tree that programs see as `/`, with its place in `tree`: `` for the gateway's own."""
    inside: dict[str, dict[str, Node]] = {}
    gateway_nodes: dict[str, Node] = {}
    for path, node in tree.items():
        base, below = _divide(path)
        (inside.setdefault(base, {}) if base else gateway_nodes)[below] = node
    return [
        ("", Tree(gateway_nodes)),
        *((f"{base}/", Tree(nodes)) for base, nodes in inside.items()),
    ]


def _divide(path: str) -> tuple[str, str]:
    """The container's root that holds `path`, and its path in it."""
    match = _INSIDE.match(path)
    return (match[1], path[match.end() :]) if match else ("", path)
