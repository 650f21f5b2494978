"""Trees kept in the cache: rows of plain values beside one file that holds all contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeimg.tree import Kind, Node, Span

Row = list[Any]


def rows(nodes: Mapping[str, Node]) -> list[Row]:
    """Plain values (JSON) of `nodes`, whose contents are spans of one file or empty."""
    return [_row(name, node) for name, node in nodes.items()]


def nodes(rows: Iterable[Row], data: Path, *, origin: str) -> dict[str, Node]:
    """The nodes that `rows` was made of, their contents in `data`."""
    return {
        name: Node(
            kind=Kind(kind),
            mode=mode,
            uid=uid,
            gid=gid,
            content=Span(data, offset, size) if kind == Kind.FILE.value else b"",
            target=target,
            xattrs=tuple((key, value.encode("latin-1")) for key, value in xattrs),
            origin=origin,
        )
        for name, kind, mode, uid, gid, offset, size, target, xattrs in rows
    }


def _row(name: str, node: Node) -> Row:
    span = node.content if isinstance(node.content, Span) else None
    xattrs = [[key, value.decode("latin-1")] for key, value in node.xattrs]
    where = [span.offset, span.size] if span else [0, 0]
    return [name, node.kind.value, node.mode, node.uid, node.gid, *where, node.target, xattrs]
