"""Block maps: which parts of a disk image have to be written, with a digest for each.

The format is bmap 2.0, as bmaptool(1) reads it. Everything outside the ranges may keep whatever
the flashed disk held before: free space of the FATs, the empty slot, the space for data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ImageError
from edgeimg.image.partitions import SECTOR, DiskPlan
from edgeimg.streams import sparse

BLOCK = 4096
_TABLE = 34 * SECTOR
"""Protective MBR, GPT header and 128 entries; the copy at the end lacks the MBR."""
HEAD = "head"
"""What a board has before its first partition."""
_FATS = ("esp", "config")
Range = tuple[int, int]
"""First and last block, both inclusive."""


def ranges(plan: DiskPlan, sizes: Mapping[str, int]) -> list[Range]:
    """The blocks that matter, given the bytes used from the start of each partition. Pure."""
    spans = [(0, max(_TABLE, sizes.get(HEAD, 0))), (plan.size - _TABLE + SECTOR, plan.size)]
    for name, size in sizes.items():
        start = plan[name].start if name != HEAD else 0
        spans.append((start, start + size))
    return merged(spans)


def merged(spans: Iterable[tuple[int, int]]) -> list[Range]:
    """Stretches of bytes as ranges of blocks, sorted, those that touch made one. Pure."""
    ranges: list[Range] = []
    for start, end in sorted(spans):
        first, last = start // BLOCK, (end - 1) // BLOCK
        if end <= start:
            continue
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return ranges


def content_sizes(disk: Path, plan: DiskPlan, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes that matter from the start of each partition that has content.

    `sizes` are the contents of `root-a` and `root-a-verity`: they matter to their last byte,
    zeros included, for dm-verity proves them. A FAT matters up to its last byte that is not
    zero: only free space is behind that. All bytes before the first partition of a board matter:
    U-Boot would take the settings that another system left there for its own.
    """
    fats = {
        name: sparse.used(disk, offset=plan[name].start, size=plan[name].size) for name in _FATS
    }
    if plan.head is not None:
        fats[HEAD] = plan.head.first
    return {**fats, **sizes}


def document(disk: Path, mapped: Sequence[Range]) -> bytes:
    """The block map of `disk`: XML, with SHA-256 digests of the ranges and of itself.

    Raises ImageError for ranges beyond its end.
    """
    size = disk.stat().st_size
    with disk.open("rb") as file:
        rows = [
            f'        <Range chksum="{_digest(file, first, last, size)}"> '
            f"{first if first == last else f'{first}-{last}'} </Range>\n"
            for first, last in mapped
        ]
    lines = [
        '<?xml version="1.0" ?>\n',
        '<bmap version="2.0">\n',
        f"    <ImageSize> {size} </ImageSize>\n",
        f"    <BlockSize> {BLOCK} </BlockSize>\n",
        f"    <BlocksCount> {-(-size // BLOCK)} </BlocksCount>\n",
        f"    <MappedBlocksCount> {sum(b - a + 1 for a, b in mapped)} </MappedBlocksCount>\n",
        "    <ChecksumType> sha256 </ChecksumType>\n",
        f"    <BmapFileChecksum> {'0' * 64} </BmapFileChecksum>\n",
        "    <BlockMap>\n",
        *rows,
        "    </BlockMap>\n",
        "</bmap>\n",
    ]
    # The file's own digest is taken with zeros in its place.
    unsigned = "".join(lines)
    return unsigned.replace("0" * 64, hashlib.sha256(unsigned.encode()).hexdigest(), 1).encode()


def _digest(file: BinaryIO, first: int, last: int, size: int) -> str:
    digest = hashlib.sha256()
    file.seek(first * BLOCK)
    remaining = min((last + 1) * BLOCK, size) - first * BLOCK
    while remaining:
        chunk = file.read(min(1 << 20, remaining)) if last * BLOCK < size else b""
        if not chunk:
            raise ImageError(f"{file.name} is smaller than its block map says")
        digest.update(chunk)
        remaining -= len(chunk)
    return digest.hexdigest()
