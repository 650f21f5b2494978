"""Disk images with the heads of boards, and what every reader of such a disk finds."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg.arch import ARM
from edgeimg.image import bmap
from edgeimg.image.partitions import SECTOR, DiskPlan
from edgeimg.pack import disk, esp, fat
from edgeimg.recipe.board import Board
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image
from edgeimg.tools import Toolbox

from tests.conftest import PROJECT

MIB = 1 << 20
GROWTH = PROJECT / "overlays/base/usr/lib/repart.d"
EPOCH = 1767225600
LOADER = bytes(range(1, 251)) * 2000
HEADS: Mapping[str, tuple[Mapping[str, object], int]] = {
    "56 entries": ({"entries": 56}, 8 << 10),
    "moved entries": ({"table": 1440}, 1 << 10),
    "hybrid MBR": ({"hybrid": True}, MIB),
}
"""What a board says, and the byte where its boot loader begins."""
FAT32_LBA = 0x0C


@dataclass(frozen=True)
class Made:
    """An image with a real partition table, real FATs and a boot loader."""

    raw: Path
    plan: DiskPlan
    board: Board
    place: int
    """The byte where the boot loader begins."""
    pack: Toolbox


def make(name: str, folder: Path, pack: Toolbox, *, loader: bytes = LOADER) -> Made:
    """The image of a board with the head `name`, and its block map."""
    keys, place = HEADS[name]
    board = Board.model_validate({"name": "mine", "arch": "arm", **keys})
    sizes = {"esp": 34 * MIB, "slot": 8 * MIB, "verity": 2 * MIB, "config": 17 * MIB}
    recipe = Recipe(board=board, image=Image.model_validate(sizes))
    plan = disk.plan(recipe, ARM, "0123456789abcdef" * 2 + "fedcba9876543210" * 2, {})
    source, root, conf = folder / "loader", folder / "root", folder / "loader.conf"
    source.write_bytes(loader)
    root.write_bytes(b"root" * (MIB // 2))
    conf.write_bytes(b"timeout 0\n")
    parts = {"esp": folder / "esp", "root-a": root, "config": folder / "config"}
    fat.make(parts["esp"], {"loader/loader.conf": conf}, size=plan["esp"].size, bits=32,
             label="ESP", volume_id=1, epoch=EPOCH, toolbox=pack)  # fmt: skip
    esp.make_config(parts["config"], size=plan["config"].size, volume_id=2, epoch=EPOCH,
                    toolbox=pack)  # fmt: skip
    raw = folder / "gateway.raw"
    disk.write(plan, parts, raw, raw={place: source} if loader else {}, toolbox=pack)
    used = bmap.content_sizes(raw, plan, {"root-a": root.stat().st_size})
    raw.with_suffix(".bmap").write_bytes(bmap.document(raw, bmap.ranges(plan, used)))
    return Made(raw, plan, board, place, pack)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first table of a disk, whose digests hold, and the MBR before it."""

    sector: int
    """Where the entries begin."""
    count: int
    usable: int
    """The first sector that a partition may have."""
    mbr: bytes
    """Its four entries."""
    rows: Mapping[str, tuple[int, int]]
    """Start and size of each partition in sectors, by its UUID, as sfdisk reads them."""


def head(path: Path, pack: Toolbox) -> Head:
    """Read the head of a disk; both tables are valid, and agree, for sfdisk."""
    with path.open("rb") as file:
        mbr, header = file.read(SECTOR), bytearray(file.read(SECTOR)[:92])
        (usable,) = struct.unpack_from("<Q", header, 40)
        sector, count, each, crc = struct.unpack_from("<QIII", header, 72)
        file.seek(sector * SECTOR)
        assert zlib.crc32(file.read(count * each)) == crc
    (crc,) = struct.unpack_from("<I", header, 16)
    struct.pack_into("<I", header, 16, 0)
    assert zlib.crc32(header) == crc
    assert b"No errors detected" in pack.run("sfdisk", "--verify", path, timeout=60)
    table = json.loads(pack.run("sfdisk", "-J", path, timeout=60))["partitiontable"]
    rows = {row["uuid"].lower(): (row["start"], row["size"]) for row in table["partitions"]}
    return Head(sector=sector, count=count, usable=usable, mbr=mbr[446:510], rows=rows)


def assert_planned(made: Made, found: Head) -> None:
    """The table has the size that the board wants and the partitions of the plan."""
    assert found.count == made.board.entries
    assert found.usable == made.board.first // SECTOR
    assert (found.mbr[4] == FAT32_LBA) == made.board.hybrid
    assert found.rows == {
        part.uuid: (part.start // SECTOR, part.size // SECTOR) for part in made.plan.partitions
    }


def loader_of(path: Path, made: Made) -> bytes:
    """The bytes of a disk where the boot loader was written."""
    with path.open("rb") as file:
        file.seek(made.place)
        return file.read(len(LOADER))


def grow(made: Made, path: Path, *options: str) -> None:
    """What the first start does."""
    before = head(path, made.pack)
    made.pack.run(
        "systemd-repart", "--dry-run=no", f"--definitions={GROWTH}", "--empty=refuse",
        *options, "--offline=yes", "--no-pager", path, timeout=120,
    )  # fmt: skip
    after = head(path, made.pack)
    assert loader_of(path, made) == LOADER
    for field in ("sector", "count", "usable"):
        assert getattr(after, field) == getattr(before, field)
    assert not made.board.hybrid or after.mbr == before.mbr
    assert len(after.rows) == len(made.plan.partitions) + 1
    assert before.rows.items() <= after.rows.items()
    # In sectors of 512 bytes: flash memory writes pages of 4 KiB and more.
    assert all(start % 8 == size % 8 == 0 for start, size in after.rows.values())


@contextlib.contextmanager
def card(folder: Path, size: int) -> Iterator[Path]:
    """A loop device of `size` bytes; the first 8 MiB and the last one hold old data."""
    backing = folder / "card"
    with backing.open("wb") as file:
        file.write(b"\x5a" * (8 * MIB))
        file.seek(size - MIB)
        file.write(b"\x5a" * MIB)
    device = subprocess.run(
        ["losetup", "-f", "--show", backing], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
