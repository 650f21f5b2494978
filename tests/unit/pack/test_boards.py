"""Boards: the disk's head, the files of the boot partition, and mistakes, each in one line."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.errors import RecipeError
from edgeimg.image import bmap
from edgeimg.image.partitions import SECTOR
from edgeimg.pack import boards, disk, gpt, uboot_script
from edgeimg.recipe import file as recipes
from edgeimg.recipe.board import Board
from edgeimg.recipe.model import Recipe
from edgeimg.resolve import requests
from edgeimg.tree import Tree, file
from edgeimg.vm.argv import BoardModel, GuestOptions, GuestSpec, qemu_argv
from pydantic import ValidationError

from tests.unit.vm.test_vm_argv import spec

KIB = 1 << 10
MIB = 1 << 20
CONFIG = "CONFIG_ARM=y\nCONFIG_FAT_RENAME=y\n# CONFIG_ARM64 is not set\n"
FILES = {"boot/spl.bin": b"S" * 100_000, "boot/config": CONFIG.encode(), "boot/dtb/a.dtb": b"a"}
GOOD: dict[str, Any] = {
    "name": "mine",
    "arch": "arm",
    "config": "boot/config",
    "entries": 56,
    "raw": {"8 KiB": "boot/spl.bin"},
    "esp": {"dtb/": "boot/dtb/*.dtb"},
    "text": {"config.txt": "x=1\n"},
    "consoles": ["ttyS0,115200"],
    "watchdog": 16,
}


def board(**changes: object) -> Board:
    return Board.model_validate({**GOOD, **changes})


def tree(**files: bytes | None) -> Tree:
    held = {**FILES, **{name.replace("__", "/"): data for name, data in files.items()}}
    return Tree().with_nodes({n: file(d) for n, d in held.items() if d is not None})


def test_a_board_has_its_files_in_their_places() -> None:
    made = boards.loader(board(), tree())
    assert {at: node.size for at, node in made.raw.items()} == {8 * KIB: 100_000}
    assert {path: node.read() for path, node in made.esp.items()} == {
        "dtb/a.dtb": b"a",
        "config.txt": b"x=1\n",
    }
    assert made.words == ("console=ttyS0,115200", "systemd.watchdog_sec=16s")


def test_a_packed_configuration_is_read_too() -> None:
    packed = gzip.compress(CONFIG.encode(), mtime=0)
    assert boards.check(board(), tree(boot__config=packed)) == []


@pytest.mark.parametrize(
    ("changes", "files", "line"),
    [
        ({"entries": 128}, {}, "the GPT's 128 entries .* and raw file spl.bin .* overlap"),
        ({"raw": {"950 KiB": "boot/spl.bin"}, "first": MIB}, {}, "spl.bin .* the first partition"),
        (
            {"raw": {"8 KiB": "boot/spl.bin", "64 KiB": "boot/config"}},
            {},
            "raw file spl.bin .* and raw file config .* overlap",
        ),
        (
            {"raw": {"4090 KiB": "boot/config"}},
            {},
            "config .* ends behind byte 4187136, where gdisk",
        ),
        ({"raw": {"512": "boot/config"}}, {}, "the GPT's header .* and raw file config"),
        ({"raw": {"8200": "boot/spl.bin"}}, {}, 'raw."8200": expected a multiple of 512 bytes'),
        ({"raw": {"8 KiB": "boot/slp.bin"}}, {}, "hold boot/slp.bin; did you mean boot/spl.bin"),
        ({"raw": {"8 KiB": "boot/*"}}, {}, "boot/[*] fits 2 files, expected one"),
        ({"raw": {}, "esp": {}}, {}, "no boot loader has a place"),
        ({"config": None}, {}, "config: is missing"),
        ({}, {"boot__config": b"CONFIG_ARM=y\n"}, "built without CONFIG_FAT_RENAME"),
        (
            {},
            {"boot__config": b"CONFIG_ARM64=y\nCONFIG_FAT_RENAME=y\n"},
            "the board is arm, its boot loader is built for arm64",
        ),
        (
            {},
            {
                "boot__config": CONFIG.encode() + b"CONFIG_ENV_IS_IN_MMC=y\n"
                b"CONFIG_ENV_OFFSET=0x10000\nCONFIG_ENV_SIZE=0x2000\n"
            },
            "U-Boot's environment .* and raw file spl.bin .* overlap",
        ),
        (
            {"watchdog": 60},
            {"boot__config": CONFIG.encode() + b"CONFIG_WATCHDOG_TIMEOUT_MSECS=16000\n"},
            "watchdog: 60 s is more than the boot loader's 16 s",
        ),
        ({"cmdline": ["systemd.watchdog_sec=1min"]}, {}, "1min is more than the 16 s of the board"),
        ({"text": {"Efi/boot/bootarm.efi": "x"}}, {}, "edgeimg has a file of its own there"),
        ({"text": {"DTB/A.dtb": "x"}}, {}, "two files have this place"),
        (
            {"esp": {"a.dtb": "boot/dtb/a.dtb", "A.DTB": "boot/dtb/a.dtb"}},
            {},
            'esp."A.DTB": two files have this place',
        ),
        ({"text": {"dtb": "x"}}, {}, 'esp."dtb": other files have this place as their directory'),
        ({"text": {"EFI": "x"}}, {}, 'esp."EFI": other files have this place as their directory'),
        (
            {"esp": {"dtb/": "boot/dtb/b.dtb"}},
            {},
            "hold boot/dtb/b.dtb; did you mean boot/dtb/a.dtb",
        ),
        (
            {"raw": {"8 KiB": "boot/spl.bin", "6 MiB": "boot/config"}},
            {},
            "the first partition .* and raw file config .* overlap",
        ),
    ],
)
def test_each_mistake_is_one_line(
    changes: dict[str, object], files: dict[str, bytes], line: str
) -> None:
    assert boards.check(board(), tree()) == []
    problems = boards.check(board(**changes), tree(**files))
    assert len(problems) == 1, problems
    with pytest.raises(RecipeError, match=f"the board mine has 1 error\n  .*{line}"):
        boards.loader(board(**changes), tree(**files))


def test_the_environment_may_be_in_a_gap_of_a_file() -> None:
    place = b"CONFIG_ENV_IS_IN_MMC=y\nCONFIG_ENV_OFFSET=0x10000\nCONFIG_ENV_SIZE=0x2000\n"
    gap = bytearray(FILES["boot/spl.bin"])
    gap[0x10000 - 8 * KIB : 0x12000 - 8 * KIB] = bytes(0x2000)
    files = {"boot__config": CONFIG.encode() + place}
    assert boards.check(board(), tree(**files)) != []
    assert boards.check(board(), tree(**files).with_nodes({"boot/spl.bin": file(bytes(gap))})) == []


def test_all_mistakes_are_reported_at_once() -> None:
    bad = board(entries=128, config=None, cmdline=["systemd.watchdog_sec=90"])
    assert len(boards.check(bad, tree())) == 3


def test_files_fit_the_boot_partition() -> None:
    firmware = {"esp": {"": "boot/spl.bin"}}
    total = 100_000 + len("x=1\n")
    assert boards.check(board(**firmware), tree(), esp=total) == []
    assert boards.check(board(**firmware), tree()) == []
    (problem,) = boards.check(board(**firmware), tree(), esp=total - 1)
    assert problem.startswith(f"esp: its files have {total} bytes, more than the EFI system part")
    assert problem.endswith("the largest is spl.bin")
    (problem,) = boards.check(board(esp={}, text={"x": "ü"}), tree(), esp=1)
    assert problem.endswith("the largest is text")


@pytest.mark.parametrize(
    "changes",
    [
        {"raw": {"a lot": "x"}},
        {"raw": {"8 KiB": "/absolute"}},
        {"esp": {"/x": "y"}},
        {"esp": {"../x": "y"}},
        {"consoles": ["serial"]},
        {"watchdog": 1},
        {"entries": 55},
        {"table": 1},
        {"table": 8192, "first": MIB},
        {"first": 4 * MIB + 512},
        {"arch": "riscv64"},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_values_that_no_board_can_have(changes: dict[str, object]) -> None:
    assert board().name == "mine"
    with pytest.raises(ValidationError):
        board(**changes)


def plan(**changes: object) -> disk.DiskPlan:
    return disk.plan(Recipe(board=board(**changes)), ARM, "0" * 63 + "1", {})


def test_without_a_board_nothing_changes() -> None:
    """The build's bytes follow from these; the manifest has no new key."""
    bare = disk.plan(Recipe(), ARM, "0" * 63 + "1", {})
    assert bare.head is None
    assert "table-length" not in bare.script()
    assert bare["esp"].start == MIB
    assert requests.digest(Recipe()) == requests.digest(Recipe(board=board()))
    assert Recipe().digest() != Recipe(board=board()).digest()


def test_the_root_is_where_the_boardless_image_has_it() -> None:
    bare = disk.plan(Recipe(), ARM, "0" * 63 + "1", {})
    made = plan()
    assert made["esp"].start == 4 * MIB
    assert "table-length: 56" in made.script().splitlines()
    assert "first-lba: 8192" in made.script().splitlines()
    assert [part.uuid for part in made.partitions] == [part.uuid for part in bare.partitions]
    assert [part.size for part in made.partitions] == [part.size for part in bare.partitions]


def test_a_file_may_end_where_gdisk_would_repair_the_table() -> None:
    """56 entries take 7 KiB before the first partition."""
    end = {"raw": {"4088 KiB": "boot/spl.bin"}}
    assert boards.check(board(**end), tree(**{"boot/spl.bin": bytes(KIB)})) == []
    assert boards.check(board(**end), tree(**{"boot/spl.bin": bytes(KIB + 1)})) != []


def test_the_block_map_has_all_bytes_before_the_first_partition(tmp_path: Path) -> None:
    made, image = plan(), tmp_path / "disk"
    with image.open("wb") as out:
        out.truncate(made.size)
        out.seek(8 * KIB)
        out.write(FILES["boot/spl.bin"])
    used = bmap.content_sizes(image, made, {})
    assert bmap.ranges(made, used)[0] == (0, 4 * MIB // bmap.BLOCK - 1)


def table(path: Path, *, count: int = 128) -> bytes:
    """A disk of 1 MiB with the first copy of a GPT, as UEFI 2.10 has it; its entries."""
    entries = b"".join(bytes([number]) * 128 for number in range(1, count + 1))
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, 2047, 8192, 2014, bytes(16), 2, count, 128)
    header = bytearray(struct.pack("<8sIIIIQQQQ16sQII", *fields) + bytes(4))
    struct.pack_into("<I", header, 88, zlib.crc32(entries))
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    data = bytes(SECTOR) + bytes(header).ljust(SECTOR, b"\0") + entries
    path.write_bytes(data.ljust(4 * MIB, b"\0"))
    return entries


def test_entries_move_and_the_header_stays_valid(tmp_path: Path) -> None:
    entries = table(tmp_path / "disk")
    gpt.arrange(tmp_path / "disk", plan(entries=128, table=2016, raw={"1 KiB": "boot/spl.bin"}))
    data = (tmp_path / "disk").read_bytes()
    header = bytearray(data[SECTOR : SECTOR + 92])
    (crc,) = struct.unpack_from("<I", header, 16)
    struct.pack_into("<I", header, 16, 0)
    assert crc == zlib.crc32(header)
    assert struct.unpack_from("<Q", header, 72) == (2016,)
    assert data[2016 * SECTOR :][: len(entries)] == entries
    assert not any(data[2 * SECTOR : 2016 * SECTOR])


def test_a_hybrid_mbr_names_the_boot_partition_first(tmp_path: Path) -> None:
    table(tmp_path / "disk")
    made = plan(hybrid=True)
    gpt.arrange(tmp_path / "disk", made)
    rows = [(tmp_path / "disk").read_bytes()[446 + 16 * n :][:16] for n in range(4)]
    kinds = [row[4] for row in rows]
    assert kinds == [0x0C, 0xEE, 0, 0]
    places = [struct.unpack_from("<II", row, 8) for row in rows[:2]]
    assert places == [(8192, made["esp"].size // SECTOR), (1, 8191)]


def project(root: Path, recipe: str, **files: str) -> Path:
    (root / "recipes").mkdir()
    (root / "recipes/top.toml").write_text(recipe)
    for name, text in files.items():
        (root / f"{name}.toml").write_text(text)
    return root / "recipes/top.toml"


@pytest.mark.parametrize("name", recipes.boards())
def test_every_board_of_edgeimg_is_a_recipe_away(name: str, tmp_path: Path) -> None:
    named = recipes.load(project(tmp_path, f'[board]\nname = "{name}"\n'))
    (tmp_path / "recipes/top.toml").write_text("")
    given = recipes.load(tmp_path / "recipes/top.toml", name)
    assert named.recipe.board == given.recipe.board
    assert named.recipe.board is not None
    assert named.recipe.board.name == name
    assert (named.lock_path.name, given.lock_path.name) == (
        "top.lock.toml",
        f"top.{name}.lock.toml",
    )


def test_a_recipe_changes_single_keys_of_a_board(tmp_path: Path) -> None:
    text = '[board]\nname = "qemu-virt-uboot"\nwatchdog = 30\n'
    made = recipes.load(project(tmp_path, text)).recipe.board
    assert made is not None
    assert (made.watchdog, made.arch) == (30, "arm64")


def test_a_board_of_ones_own_is_a_file(tmp_path: Path) -> None:
    mine = '[board]\nname = "mine"\narch = "arm"\nfiles = "boards/mine"\n'
    top = project(tmp_path, "", mine=mine)
    made = recipes.load(top, str(tmp_path / "mine.toml"))
    assert made.recipe.board is not None
    assert made.recipe.board.files == "boards/mine"
    assert made.lock_path.name == "top.lock.toml"


def test_unknown_boards_are_refused(tmp_path: Path) -> None:
    top = project(tmp_path, '[board]\nname = "qemu-virt-ubot"\n')
    with pytest.raises(RecipeError) as caught:
        recipes.load(top)
    assert "did you mean 'qemu-virt-uboot'" in (caught.value.hint or "")
    top.write_text('[board]\nname = "qemu-virt-uboot"\n')
    with pytest.raises(RecipeError, match=r"top\.toml:1: board: the recipe has a board already"):
        recipes.load(top, "qemu-virt-uboot")


def model(path: Path | None, **qemu: object) -> BoardModel:
    made = board(qemu=qemu).qemu
    assert made is not None
    files = (("bios", path),) if path else ()
    return BoardModel(name="mine", model=made, files=files)


def guest(arch: Arch, board: BoardModel) -> GuestSpec:
    return replace(spec(arch), options=GuestOptions(board=board))


def test_qemu_runs_a_board_without_uefi() -> None:
    argv = qemu_argv(guest(ARM64, model(Path("/w/u-boot.bin"), bios="boot/spl.bin")))
    assert argv[argv.index("-bios") :][:2] == ["-bios", "/w/u-boot.bin"]
    assert not any("pflash" in word for word in argv)
    assert "virtio-blk-pci,drive=disk,bootindex=0" in argv
    argv = qemu_argv(guest(ARM, model(None, machine="orangepi-pc", disk="sd")))
    assert "if=sd,format=qcow2,cache=unsafe,file=/w/disk.qcow2" in argv
    assert argv[argv.index("-machine") + 1] == "orangepi-pc"
    assert not any("virtio" in word or "pflash" in word or word == "-bios" for word in argv)


def test_qemu_starts_a_boot_loader_as_a_kernel() -> None:
    board = model(None, machine="raspi3b", disk="sd", serial=1)
    board = replace(board, files=(("kernel", Path("/w/u-boot")), ("dtb", Path("/w/a.dtb"))))
    argv = qemu_argv(guest(ARM64, board))
    assert argv[argv.index("-kernel") :][:4] == ["-kernel", "/w/u-boot", "-dtb", "/w/a.dtb"]
    lines = [argv[at + 1] for at, word in enumerate(argv) if word == "-serial"]
    assert lines == ["null", "chardev:console"]


def test_files_of_the_emulator_are_looked_for() -> None:
    made = board(qemu={"kernel": "boot/spl.bin", "dtb": "boot/dtb/a.dtb"})
    found = boards.emulator_files(made, tree())
    assert {option: node.size for option, node in found.items()} == {"kernel": 100_000, "dtb": 1}
    made = board(qemu={"kernel": "boot/spl.bin", "dtb": "boot/dtb/b.dtb"})
    assert "qemu.dtb" in boards.check(made, tree())[0]
    with pytest.raises(RecipeError, match=r"qemu\.dtb: neither packages nor files"):
        boards.emulator_files(made, tree())


def test_the_initrd_counts_for_a_boot_loader_that_cannot() -> None:
    cannot = tree(boot__config=CONFIG.replace("CONFIG_FAT_RENAME=y\n", "").encode())
    assert "cannot count the starts" in boards.check(board(), cannot)[0]
    assert boards.check(board(counting="initrd"), cannot) == []
    assert "edgeimg.count=initrd" in boards.loader(board(counting="initrd"), cannot).words
    assert "edgeimg.count=initrd" not in boards.loader(board(), tree()).words
    assert boards.check(board(counting="initrd", config=None), tree()) == []


def test_a_start_is_not_counted_twice() -> None:
    (line,) = boards.check(board(counting="initrd"), tree())
    assert line.startswith("counting: the boot loader is built with CONFIG_FAT_RENAME and counts")


@pytest.mark.parametrize(
    ("arch", "digest"),
    [
        (ARM, "38343a6d803fdd790074852b1ecfa64ce34e90a22a175b4069cb815c718cb238"),
        (ARM64, "f88695454338c3a292f7f0b4cf70940bfd0ba5ead723ec0936764551a610932c"),
        (X86_64, "a6999972085428c3307d2aab5574635278384bdbd9fc237b014cca17bb56cd6d"),
    ],
)
def test_a_script_is_what_mkimage_writes(arch: Arch, digest: str) -> None:
    """U-Boot 2023.01's mkimage -T script -C none -n edgeimg, with SOURCE_DATE_EPOCH=0."""
    made = uboot_script.make("usb stop\nbootefi bootmgr\n", arch=arch)
    assert hashlib.sha256(made).hexdigest() == digest


def test_a_board_has_its_script() -> None:
    made = boards.loader(board(script="usb stop\n"), tree())
    assert made.esp["boot.scr"].read() == uboot_script.make("usb stop\n", arch=ARM)
    assert "boot.scr" not in boards.loader(board(), tree()).esp
    twice = board(script="usb stop\n", text={"Boot.scr": "x"})
    assert boards.check(twice, tree()) == ['esp."boot.scr": two files have this place']
