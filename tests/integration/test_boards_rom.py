"""Boards' boot loaders where ROM and SPL read them, listed by U-Boot's own dumpimage.

Each board's packages are locked as they are today, which takes half a minute and more: the boot
loaders are from experimental, where old versions vanish. So they are asked for:
EDGEIMG_TEST_BOARDS=1.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import find_arch
from edgeimg.build import boards
from edgeimg.cache.store import Store
from edgeimg.image.partitions import SECTOR
from edgeimg.lock.file import read_lock
from edgeimg.pack import disk, fat
from edgeimg.recipe import file
from edgeimg.recipe.board import Board
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui

from tests.gateway import PROJECT, edgeimg

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_BOARDS") != "1", reason="asked for with EDGEIMG_TEST_BOARDS=1"
    ),
    pytest.mark.skipif(
        not shutil.which("dumpimage"), reason="no dumpimage: apt install u-boot-tools"
    ),
]
IMX, LEGACY, FIT = "Freescale IMX Boot Image", "ARM U-Boot Firmware", "FIT description"
LEGACY_MAGIC, LEGACY_HEADER = bytes.fromhex("27051956"), 64
PLACES: Mapping[str, Mapping[int, str]] = {
    "allwinner-h3": {8: "Allwinner eGON image", 40: LEGACY},
    "beaglebone": {128: "LoadAddr 402f0400", 384: FIT},
    "imx6-cuboxi": {1: IMX, 69: LEGACY},
    "imx6-sabrelite": {1: IMX},
    "imx6-wandboard": {1: IMX, 69: FIT},
    "rock64": {32: "Rockchip RK", 8192: FIT},
    "rockpro64": {32: "Rockchip RK", 8192: FIT},
}
"""What dumpimage finds, by the KiB of the disk: first what the ROM reads, then what SPL reads.

A GP header has no mark: only its address, the AM335x's own memory, tells one from other bytes.
linux-sunxi.org/BROM; AM335x TRM (SPRUH73), 26.1.8.5; i.MX6 reference manual, 8.7.1; Rockchip's boot
option 1 (opensource.rock-chips.com/wiki_Boot_option).
"""
SPL = "SYS_MMCSD_RAW_MODE_U_BOOT_"
"""The options of U-Boot that say where SPL reads."""


@dataclass(frozen=True)
class Written:
    """A disk with the files of a shipped board in their places."""

    board: Board
    image: Path
    packages: Mapping[str, bytes]
    """The files of the board's packages, as dpkg-deb unpacks them."""

    def at(self, place: int, size: int | None = None) -> bytes:
        """The disk's bytes from the byte `place`; all before the first partition."""
        with self.image.open("rb") as source:
            source.seek(place)
            return source.read(self.board.first - place if size is None else size)


def written(name: str, folder: Path, cache: Store, pack: Toolbox) -> Written:
    """Lock the board `name` in a copy of the project, and write its disk without a system."""
    for part in ("recipes", "overlays"):
        shutil.copytree(PROJECT / part, folder / part, symlinks=True)
    recipe, board = folder / "recipes/gateway.toml", file.shipped_boards()[name]
    # A mirror's index may be out of step for a while; no system is built of it here.
    edgeimg(folder, "lock", "--board", name, "--accept-unsigned-index", board.arch)
    source = file.load(recipe, name)
    loader = boards.check(source, store=cache, ui=Ui())
    assert loader is not None
    plan = disk.plan(source.recipe, find_arch(board.arch), "0" * 63 + "1", {})
    raw = {place: folder / f"raw-{place}" for place in loader.raw}
    for place, path in raw.items():
        path.write_bytes(loader.raw[place].read())
    files = {}
    for number, (path, node) in enumerate(loader.esp.items()):
        files[path] = folder / f"esp-{number}"
        files[path].write_bytes(node.read())
    fat.make(folder / "esp", files, size=plan["esp"].size, bits=32, label="ESP", volume_id=1,
             epoch=source.recipe.image.epoch, toolbox=pack)  # fmt: skip
    image = folder / "disk.raw"
    disk.write(plan, {"esp": folder / "esp"}, image, raw=raw, toolbox=pack)
    lock = read_lock(source.lock_path)
    debs = {
        package.name: cache.blob(package.sha256)
        for package in lock.images[board.arch].packages()
        if package.name in board.packages
    }
    assert debs.keys() == set(board.packages)
    return Written(board, image, {k: v for deb in debs.values() for k, v in unpacked(deb).items()})


def unpacked(deb: Path) -> dict[str, bytes]:
    """The regular files of a package."""
    stream = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        return {
            member.name.removeprefix("./"): found.read()
            for member in archive
            if member.isfile() and (found := archive.extractfile(member))
        }


def listed(data: bytes, folder: Path) -> str:
    """What U-Boot's dumpimage says about the beginning of some bytes.

    Of a legacy image it compares the checksum of all bytes that it gets.
    """
    path = folder / "bytes"
    if data.startswith(LEGACY_MAGIC):
        data = data[: LEGACY_HEADER + int.from_bytes(data[12:16], "big")]
    path.write_bytes(data)
    done = subprocess.run(["dumpimage", "-l", path], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_every_board_with_raw_files_has_its_places_here() -> None:
    assert PLACES.keys() == {name for name, board in file.shipped_boards().items() if board.raw}


@pytest.mark.parametrize("name", PLACES)
def test_rom_and_spl_find_their_boot_loader(
    name: str, cache: Store, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    made, places = written(name, tmp_path, cache, toolbox("pack")), PLACES[name]
    for place, what in places.items():
        found = listed(made.at(place << 10), tmp_path)
        assert what in found, found
        assert what not in listed(made.at((place << 10) + SECTOR), tmp_path)
    for place, path in made.board.raw.items():
        expected = made.packages[path]
        assert made.at(place, len(expected)) == expected
    assert made.board.config is not None
    lines = gzip.decompress(made.packages[made.board.config]).decode().splitlines()
    options = dict(line.removeprefix("CONFIG_").split("=", 1) for line in lines if "=" in line)
    if (sector := options.get(f"{SPL}SECTOR")) is not None:
        offset = options.get(f"{SPL}DATA_PART_OFFSET", "0")
        assert (int(sector, 0) + int(offset, 0)) * SECTOR == list(places)[1] << 10
    else:
        assert len(places) == 1


def test_the_am335x_finds_nothing_before_mlo(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    """Its ROM looks at 0, 128, 256 and 384 KiB, and takes the first that has a header.

    A header that begins with 0 or FFFFFFFF is none.
    """
    made = written("beaglebone", tmp_path, cache, toolbox("pack"))
    assert made.at(0, 4) == bytes(4)
    assert b"CHSETTINGS" not in made.at(0, SECTOR)
    header = made.at(128 << 10, 2 * SECTOR)
    assert header[20:30] == b"CHSETTINGS"
    # The size counts what follows the header's sector.
    size = int.from_bytes(header[SECTOR : SECTOR + 4], "little")
    assert size == len(made.packages[made.board.raw[128 << 10]]) - SECTOR


def test_the_raspberry_pi_finds_its_firmware_by_the_mbr(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    pack = toolbox("pack")
    made = written("raspberrypi", tmp_path, cache, pack)
    table = json.loads(pack.run("sfdisk", "-Y", "dos", "-J", made.image, timeout=60))
    first, second = table["partitiontable"]["partitions"]
    assert (first["type"], second["type"]) == ("c", "ee")
    for path, source in made.board.esp.items():
        if path:
            copy = tmp_path / "copy"
            place = f"{made.image}@@{first['start'] * SECTOR}"
            pack.run("mcopy", "-n", "-o", "-i", place, f"::{path}", copy, timeout=60)
            assert copy.read_bytes() == made.packages[source]
