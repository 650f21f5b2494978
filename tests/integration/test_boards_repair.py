"""Boards' partition tables that other systems' tools repair, as the page "Boards" says it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.fleet import images
from edgeimg.image.partitions import SECTOR
from edgeimg.pack import disk, gpt
from edgeimg.provision import partition
from edgeimg.tools import Toolbox

from tests.integration import board_disks
from tests.integration.board_disks import HEADS, LOADER, MIB, Head, Made, assert_planned, loader_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("gdisk"), reason="no gdisk: apt install gdisk"),
]
GPT_OF_TWO = "2\n"
"""The answer when the MBR is no protective one: take the GPT."""
HOSTNAME = "edgeimg/hostname"


@pytest.fixture(params=HEADS)
def made(request: pytest.FixtureRequest, tmp_path: Path, toolbox: Callable[[str], Toolbox]) -> Made:
    return board_disks.make(request.param, tmp_path, toolbox("pack"))


def damage(path: Path, sector: int) -> None:
    """Overwrite a sector; negative ones count from the end."""
    with path.open("r+b") as file:
        file.seek(sector * SECTOR, os.SEEK_SET if sector >= 0 else os.SEEK_END)
        file.write(b"\xaa" * SECTOR)


def run(*argv: str | Path, text: str = "") -> str:
    """What a program prints. Its exit status is of the damage that it found."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def gdisk(made: Made, keys: str) -> None:
    """Press `keys`, write the table and confirm."""
    question = GPT_OF_TWO if made.board.hybrid else ""
    out = run("gdisk", made.raw, text=f"{question}{keys}w\ny\n")
    assert "The operation has completed successfully" in out, out


def sfdisk(made: Made, *argv: str) -> None:
    """Let util-linux write the table, which repairs what is damaged."""
    options = ["--no-reread", "--no-tell-kernel"]
    made.pack.run("sfdisk", *options, *argv, made.raw, "6", "config", timeout=60)


def assert_whole(made: Made, *, size: int | None = None) -> Head:
    """Boot loader and partitions are as planned, for sgdisk, sfdisk and edgeimg."""
    assert loader_of(made.raw, made) == LOADER
    assert "No problems found" in run("sgdisk", "-v", made.raw)
    found = board_disks.head(made.raw, made.pack)
    assert_planned(made, found)
    gpt.verify(made.raw, name="gateway")
    assert disk.read(made.raw, toolbox=made.pack).size == (size or made.plan.size)
    partition.write(made.raw, {HOSTNAME: b"box-7\n"}, toolbox=made.pack)
    assert images.holder(made.raw, toolbox=made.pack) == "box-7"
    return found


def test_the_second_table_moves_to_the_end_of_a_larger_disk(made: Made) -> None:
    size = made.plan.size + 64 * MIB
    os.truncate(made.raw, size)
    assert "No problems found" not in run("sgdisk", "-v", made.raw)
    run("sgdisk", "-e", made.raw)
    assert assert_whole(made, size=size).sector == made.board.table


def test_a_damaged_second_header(made: Made) -> None:
    damage(made.raw, -1)
    gdisk(made, "r\nd\n")  # make the second from the first
    assert assert_whole(made).sector == made.board.table


def test_a_damaged_first_header(made: Made) -> None:
    """gdisk puts the entries right before the first partition."""
    damage(made.raw, 1)
    gdisk(made, "r\nb\n")  # make the first from the second
    size = -(-made.board.entries * 128 // SECTOR)
    assert assert_whole(made).sector == made.board.first // SECTOR - size
    board_disks.grow(made, made.raw, f"--size={made.plan.size + 512 * MIB}")


def test_damaged_entries_of_the_first_table(made: Made) -> None:
    damage(made.raw, made.board.table)
    gdisk(made, "r\nc\ny\n")  # load the second table
    assert_whole(made)


def test_a_table_from_a_file_of_sgdisk(made: Made, tmp_path: Path) -> None:
    run("sgdisk", f"--backup={tmp_path / 'table'}", made.raw)
    damage(made.raw, 0)
    damage(made.raw, 1)
    damage(made.raw, -1)
    run("sgdisk", f"--load-backup={tmp_path / 'table'}", made.raw)
    assert assert_whole(made).sector == made.board.table


def test_sgdisk_leaves_a_damaged_first_header_alone(made: Made) -> None:
    damage(made.raw, 1)
    before = made.raw.read_bytes()
    run("sgdisk", "-e", made.raw)
    assert made.raw.read_bytes() == before


@pytest.mark.parametrize("sector", [1, -1], ids=["first", "second"])
def test_sfdisk_repairs_a_damaged_header(made: Made, sector: int) -> None:
    damage(made.raw, sector)
    sfdisk(made, "--part-label")
    if sector == 1 and made.board.table != 2:
        # util-linux writes the entries to sector 2 then, over the boot loader.
        assert loader_of(made.raw, made) != LOADER
        return
    assert assert_whole(made).sector == made.board.table


def restore(made: Made, original: Path) -> None:
    """As the page says: MBR and boot loader from the image, then the first table from the second.

    `sgdisk -j` would make the boot loader's place usable: systemd-repart discards such space.
    """
    copy = ["dd", f"if={original}", f"of={made.raw}", "bs=512", "conv=notrunc", "status=none"]
    subprocess.run([*copy, "count=1"], check=True)
    first = made.place // SECTOR
    count = made.board.first // SECTOR - 32 - first
    subprocess.run([*copy, f"skip={first}", f"seek={first}", f"count={count}"], check=True)
    gdisk(made, "r\nb\n")


@pytest.mark.skipif(not shutil.which("parted"), reason="no parted: apt install parted")
@pytest.mark.parametrize(
    ("tool", "spared"),
    [
        ("sfdisk with a damaged header", ("56 entries", "hybrid MBR")),
        ("parted writes", ("56 entries",)),
        ("parted fixes the size", ()),
    ],
)
@pytest.mark.parametrize("name", HEADS)
def test_what_other_tools_destroy_comes_back_from_the_image(
    name: str,
    tool: str,
    spared: tuple[str, ...],
    tmp_path: Path,
    toolbox: Callable[[str], Toolbox],
) -> None:
    made = board_disks.make(name, tmp_path, toolbox("pack"))
    original = shutil.copy(made.raw, tmp_path / "original")
    parted: list[str | Path] = ["parted", "--script", "--fix", made.raw]
    match tool:
        case "sfdisk with a damaged header":
            damage(made.raw, 1)
            sfdisk(made, "--part-label")
        case "parted writes":
            run(*parted, "name", "6", "config")
        case _:
            os.truncate(made.raw, made.plan.size + 64 * MIB)
            run(*parted, "print")
    with made.raw.open("rb") as file:
        kind = file.read(SECTOR)[446 + 4]
    intact = loader_of(made.raw, made) == LOADER
    assert (intact and (kind == board_disks.FAT32_LBA) == made.board.hybrid) == (name in spared)
    restore(made, original)
    size = made.raw.stat().st_size
    assert_whole(made, size=size)
    board_disks.grow(made, made.raw, f"--size={size + 512 * MIB}")
