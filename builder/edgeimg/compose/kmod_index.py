"""kmod's binary index, which modprobe and udev look modules up in (libkmod-index).

A radix tree of strings: magic, version, offset of the root; every node has a prefix, a table of
children by their first byte, and values with priorities. All numbers are big-endian; the upper
bits of an offset are flags for the parts of the node.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

MAGIC = 0xB007F457
VERSION = 0x0002_0001
HAS_PREFIX = 0x8000_0000
HAS_VALUES = 0x4000_0000
HAS_CHILDREN = 0x2000_0000


@dataclass
class _Trie:
    values: list[tuple[int, bytes]] = field(default_factory=list)
    children: dict[int, _Trie] = field(default_factory=dict)
    prefix: bytes = b""


def write(entries: Iterable[tuple[str, str, int]]) -> bytes:
    """The index of (key, value, priority) entries; a lower priority is found first.

    Equal entries are written once. Keys must be ASCII.
    """
    ordered = sorted({(key.encode("ascii"), value.encode(), rank) for key, value, rank in entries})
    output = bytearray(struct.pack(">III", MAGIC, VERSION, 0))
    root = _write(_build(ordered, 0), output)
    struct.pack_into(">I", output, 8, root)
    return bytes(output)


def _build(entries: list[tuple[bytes, bytes, int]], depth: int) -> _Trie:
    # `entries` is sorted and shares its first `depth` bytes.
    node = _Trie()
    if not entries:
        return node
    first_key, last_key = entries[0][0][depth:], entries[-1][0][depth:]
    shared = 0
    while shared < min(len(first_key), len(last_key)) and first_key[shared] == last_key[shared]:
        shared += 1
    node.prefix, depth = first_key[:shared], depth + shared
    start = 0
    while start < len(entries) and len(entries[start][0]) == depth:
        node.values.append((entries[start][2], entries[start][1]))
        start += 1
    while start < len(entries):
        first, end = entries[start][0][depth], start
        while end < len(entries) and entries[end][0][depth] == first:
            end += 1
        node.children[first] = _build(entries[start:end], depth + 1)
        start = end
    return node


def _write(node: _Trie, output: bytearray) -> int:
    offsets = {first: _write(child, output) for first, child in node.children.items()}
    offset = len(output)
    if node.prefix:
        offset |= HAS_PREFIX
        output += node.prefix + b"\0"
    if offsets:
        offset |= HAS_CHILDREN
        first, last = min(offsets), max(offsets)
        output += bytes((first, last))
        for char in range(first, last + 1):
            output += struct.pack(">I", offsets.get(char, 0))
    if node.values:
        offset |= HAS_VALUES
        output += struct.pack(">I", len(node.values))
        for rank, value in sorted(node.values):
            output += struct.pack(">I", rank) + value + b"\0"
    return offset
