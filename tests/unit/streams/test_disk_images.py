"""Compressed disk images: their partition table says how much they unpack to. Holes are free."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from edgeimg.errors import ArchiveError, ImageError
from edgeimg.image import bmap, raw
from edgeimg.streams import decoding, sparse
from edgeimg.streams.limits import IMAGE

BLOCK = 128 << 10
GIB = 1 << 30


def table(size: int, sector: int = 512) -> bytes:
    """The start of a disk of `size` bytes, with the header of a GPT."""
    header = struct.pack("<8s24xQ", b"EFI PART", size // sector - 1)
    return (bytes(sector) + header).ljust(BLOCK, b"\0")


def frame(start: bytes, zeros: int) -> bytes:
    """A zstd frame of a few bytes: one block, and `zeros` bytes in blocks of 4 bytes each."""
    first = struct.pack("<I", len(start) << 3)[:3] + start
    block = struct.pack("<I", BLOCK << 3 | 2)[:3] + b"\0"
    last = struct.pack("<I", BLOCK << 3 | 3)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + first + block * (zeros // BLOCK - 1) + last


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_disk_is_as_large_as_its_table_says(tmp_path: Path, sector: int) -> None:
    packed, disk = tmp_path / "x.raw.zst", tmp_path / "x.raw"
    packed.write_bytes(frame(table(GIB, sector), GIB - BLOCK))
    raw.unpack(packed, disk)
    assert disk.stat().st_size == GIB
    assert disk.stat().st_blocks * 512 <= 2 * sparse.BLOCK + BLOCK * 8
    packed.write_bytes(frame(table(GIB, sector), GIB))
    with pytest.raises(ImageError, match="more than the 1073741824 bytes"):
        raw.unpack(packed, disk)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (bytes(BLOCK), "it has no partition table"),
        (table(1 << 40), "for a disk of 1024 GiB, and images have 64 GiB at most"),
    ],
)
def test_a_bomb_is_refused_at_its_start(tmp_path: Path, start: bytes, message: str) -> None:
    packed = tmp_path / "x.raw.zst"
    packed.write_bytes(frame(start, 32 * GIB))
    before = time.process_time()
    with pytest.raises(ImageError, match=message):
        raw.unpack(packed, tmp_path / "x.raw")
    assert time.process_time() - before < 3
    assert (tmp_path / "x.raw").stat().st_size == 0


def test_an_image_that_is_not_compressed_well_is_the_same(tmp_path: Path) -> None:
    data = table(1 << 20)[:BLOCK] + os.urandom((1 << 20) - BLOCK)
    (tmp_path / "x.raw.zst").write_bytes(zstandard.compress(data))
    raw.unpack(tmp_path / "x.raw.zst", tmp_path / "x.raw")
    assert (tmp_path / "x.raw").read_bytes() == data


@pytest.mark.parametrize("one", [zstandard.compress(b""), struct.pack("<II", 0x184D2A50, 0)])
def test_streams_in_a_row_have_a_limit(one: bytes) -> None:
    limits, data = replace(IMAGE, streams=100), zstandard.compress(b"x")
    assert decoding.unpacked(one * 99 + data, "x", method=decoding.ZSTD, limits=limits) == b"x"
    with pytest.raises(ArchiveError, match="more than 100 streams in a row"):
        decoding.unpacked(one * 100 + data, "x", method=decoding.ZSTD, limits=limits)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _device, Path.mkdir])
def test_what_is_no_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "x.raw")
    with pytest.raises(ImageError, match=r"neither a file nor a disk|is a directory"):
        raw.is_compressed(tmp_path / "x.raw")


def test_holes_of_a_terabyte_are_not_read(tmp_path: Path) -> None:
    disk, places = tmp_path / "disk", (5000, (1 << 40) - 100, (1 << 40) + (1 << 18) - 2)
    with disk.open("wb") as file:
        file.truncate(1 << 41)
        for place in places:
            file.seek(place)
            file.write(b"xyz")
    for offset in (0, 4096, 5001):
        found = b"".join(chunk.strip(b"\0") for _, chunk in sparse.chunks(disk, offset=offset))
        assert found == b"xyz" * 3 if offset < 5001 else b"yz" + b"xyz" * 2
    end = sparse.used(disk)
    assert end == (places[-1] + 3 + 4095) // 4096 * 4096
    sparse.extract(disk, tmp_path / "part", offset=places[1] - 1, size=8)
    assert (tmp_path / "part").read_bytes() == b"\0xyz\0\0\0\0"
    sparse.extract(disk, tmp_path / "part", offset=1 << 20, size=1 << 20)
    assert (tmp_path / "part").read_bytes() == bytes(1 << 20)


def test_a_block_map_of_a_larger_disk_has_an_end(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 8192)
    assert b"<Range" in bmap.document(disk, [(0, 1)])
    with pytest.raises(ImageError, match="smaller"):
        bmap.document(disk, [(5, 9)])
