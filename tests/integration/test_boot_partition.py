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


@pytest.fixture
def partition(toolbox: Callable[[str], Toolbox], tmp_path: Path) -> Path:
    """A disk with a FAT32 at OFFSET: EFI/A/PROGRAM.EFI and long names."""
    program = tmp_path / "program"
    program.write_bytes(b"program" * 10000)
    files = dict.fromkeys(("EFI/A/PROGRAM.EFI", "EFI/a long name+3.efi", "conf"), program)
    made = tmp_path / "made.fat"
    fat.make(
        made, files, size=SIZE, bits=32, label="ESP", volume_id=1, epoch=0,
        toolbox=toolbox("pack"),
    )  # fmt: skip
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(OFFSET) + made.read_bytes())
    return disk


def change(disk: Path, place: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(data)


def test_files_and_directories_stay_within_the_partition(partition: Path) -> None:
    content = partition.read_bytes()
    directory, file = content.index(DIRECTORY), content.index(FILE)
    (root,) = struct.unpack_from("<I", content, OFFSET + 44)

    def check() -> None:
        fat_bounds.check(partition, offset=OFFSET, size=SIZE)

    check()
    for place, data, problem in (
        (file + 28, struct.pack("<I", SIZE), "larger"),
        (directory + 26, struct.pack("<H", root), "circle"),
        (directory + 26, struct.pack("<H", 0), "circle"),
        (directory + 20, struct.pack("<H", 0xFFF), "circle"),
        (OFFSET + 11, b"\0\0", "no FAT32"),
        (OFFSET + 13, b"\0", "no FAT32"),
        (OFFSET + 22, b"\1\0", "no FAT32"),
    ):
        change(partition, place, data)
        with pytest.raises(ImageError, match=problem):
            check()
        change(partition, place, content[place : place + len(data)])
        check()
    partition.write_bytes(content[: OFFSET + 100])
    with pytest.raises(ImageError, match="truncated"):
        check()
