"""Block maps: the ranges are exact, and the digests are those of the ranges."""

from __future__ import annotations

import hashlib
import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

from edgeimg.arch import X86_64
from edgeimg.image import bmap
from edgeimg.pack import disk
from edgeimg.recipe.model import Recipe
from hypothesis import given, settings
from hypothesis import strategies as st

PLAN = disk.plan(Recipe(), X86_64, "0" * 63 + "1", {})
LAST = PLAN.size // bmap.BLOCK - 1


def blocks(ranges: list[bmap.Range]) -> set[int]:
    return {block for first, last in ranges for block in range(first, last + 1)}


def test_the_tables_at_both_ends_are_always_written() -> None:
    ranges = bmap.ranges(PLAN, {})
    assert ranges[0] == (0, 4)  # 34 sectors are 4.25 blocks
    assert ranges[-1] == (LAST - 4, LAST)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([part.name for part in PLAN.partitions]),
        st.integers(0, 8 << 20),
    )
)
def test_ranges_hold_every_used_byte_in_order(used: dict[str, int]) -> None:
    ranges = bmap.ranges(PLAN, used)
    for (_, last), (first, _) in itertools.pairwise(ranges):
        assert first > last + 1
    written = blocks(ranges)
    wanted = {*range(5), *range(LAST - 4, LAST + 1)}
    for name, size in used.items():
        start = PLAN[name].start
        wanted |= {offset // bmap.BLOCK for offset in range(start, start + size, bmap.BLOCK)}
    assert written == wanted


def test_document_digests(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    data = bytes(range(256)) * 16 * 10 + b"end"
    image.write_bytes(data)
    text = bmap.document(image, [(0, 0), (3, 5), (10, 10)])
    root = ET.fromstring(text)
    assert root.findtext("ImageSize") == f" {len(data)} "
    assert root.findtext("BlocksCount") == " 11 "
    assert root.findtext("MappedBlocksCount") == " 5 "
    rows = [(row.text, row.get("chksum")) for row in root.iter("Range")]
    assert rows == [
        (" 0 ", hashlib.sha256(data[:4096]).hexdigest()),
        (" 3-5 ", hashlib.sha256(data[3 * 4096 : 6 * 4096]).hexdigest()),
        (" 10 ", hashlib.sha256(b"end").hexdigest()),
    ]
    own = (root.findtext("BmapFileChecksum") or "").strip()
    assert hashlib.sha256(text.replace(own.encode(), b"0" * 64)).hexdigest() == own


def test_used_space_of_partitions(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(PLAN.size)
        file.seek(PLAN["esp"].start + 10_000)
        file.write(b"x")
    used = bmap.content_sizes(image, PLAN, {"root-a": 5 << 20})
    assert used == {"esp": 12288, "config": 0, "root-a": 5 << 20}
