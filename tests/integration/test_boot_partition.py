"""A boot partition of others is read within bounds; each refusal with its control."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.errors import ImageError
from edgeimg.pack import fat, fat_bounds
from edgeimg.tools import Toolbox

pytestmark = pytest.mark.integration

SIZE, OFFSET = 40 << 20, 1 << 20
DIRECTORY, FILE = b"EFI        \x10", b"PROGRAM EFI\x20"
KINDS = {12: 4 << 20, 16: 9 << 20, 32: SIZE}
"""Bytes of each kind of FAT, by the bits of its entries."""


@pytest.fixture
def disk(toolbox: Callable[[str], Toolbox], tmp_path: Path) -> Callable[[int], Path]:
    """Makes a disk with a FAT at OFFSET: EFI/A/PROGRAM.EFI, a directory of 99 files, long names."""

    def make(bits: int) -> Path:
        program = tmp_path / "program"
        program.write_bytes(b"program" * 10000)
        many = [f"MANY/{number}" for number in range(99)]
        names = ["EFI/A/PROGRAM.EFI", "EFI/a long name+3.efi", "conf"]
        (tmp_path / "empty").touch()
        files = dict.fromkeys(names, program) | dict.fromkeys(many, tmp_path / "empty")
        made = tmp_path / "made.fat"
        fat.make(
            made, files, size=KINDS[bits], bits=bits, label="ESP", volume_id=1, epoch=0,
            toolbox=toolbox("pack"),
        )  # fmt: skip
        path = tmp_path / "disk.raw"
        path.write_bytes(bytes(OFFSET) + made.read_bytes())
        return path

    return make


def change(disk: Path, place: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(data)


@pytest.mark.parametrize("bits", KINDS)
def test_files_and_directories_stay_within_the_partition(
    disk: Callable[[int], Path], bits: int
) -> None:
    partition = disk(bits)
    content = partition.read_bytes()
    directory, file = content.index(DIRECTORY), content.index(FILE)
    (inner,) = struct.unpack_from("<H", content, content.index(b"A          \x10") + 26)

    beyond = {12: (26, 0xFF0), 16: (26, 0xFFF0), 32: (20, 0xFFF)}[bits]

    def check() -> None:
        fat_bounds.check(partition, offset=OFFSET, size=KINDS[bits])

    check()
    for place, data, problem in (
        (file + 28, struct.pack("<I", KINDS[bits]), "larger"),
        # A directory that has its parent's cluster.
        (content.index(b"A          \x10") + 26, struct.pack("<H", inner - 1), "circle"),
        (directory + 26, struct.pack("<H", 0), "circle"),
        (directory + beyond[0], struct.pack("<H", beyond[1]), "circle"),
        (OFFSET + 11, b"\0\0", "is not FAT"),
        (OFFSET + 13, b"\0", "is not FAT"),
    ):
        change(partition, place, data)
        with pytest.raises(ImageError, match=problem):
            check()
        change(partition, place, content[place : place + len(data)])
        check()
    partition.write_bytes(content[: OFFSET + 100])
    with pytest.raises(ImageError, match="truncated"):
        check()


@pytest.mark.parametrize("bits", KINDS)
def test_a_directory_whose_clusters_lead_in_a_circle(
    disk: Callable[[int], Path], bits: int, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    """Every function that reads a FAT checks it first; mtools would follow the loop for ever."""
    partition, tools = disk(bits), toolbox("pack")
    whole = fat.extract_all(
        partition, made(tmp_path / "good"), offset=OFFSET, size=KINDS[bits], toolbox=tools
    )
    assert len(whole) == 102
    content = partition.read_bytes()
    (first,) = struct.unpack_from("<H", content, content.index(b"MANY       \x10") + 26)
    (reserved,) = struct.unpack_from("<H", content, OFFSET + 14)
    place = OFFSET + reserved * 512 + first * bits // 8
    old = int.from_bytes(content[place : place + bits // 8 + bits % 8 // 4], "little")
    kept = {12: old & 0xF000 | first, 16: first, 32: first}
    odd = bits == 12 and first % 2
    new = old & 0xF | first << 4 if odd else kept[bits]
    change(partition, place, new.to_bytes(bits // 8 + bits % 8 // 4, "little"))
    with pytest.raises(ImageError, match="circle"):
        fat.extract_all(
            partition, made(tmp_path / "bad"), offset=OFFSET, size=KINDS[bits], toolbox=tools
        )
    with pytest.raises(ImageError, match="circle"):
        fat.names(partition, "MANY", offset=OFFSET, size=KINDS[bits], toolbox=tools)
    with pytest.raises(ImageError, match="circle"):
        fat.extract(
            partition, "conf", tmp_path / "conf", offset=OFFSET, size=KINDS[bits], toolbox=tools
        )


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
