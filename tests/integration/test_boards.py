"""The heads of boards' disks, as other tools read and grow them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import ARM
from edgeimg.image.partitions import SECTOR
from edgeimg.pack import disk
from edgeimg.recipe.board import Board
from edgeimg.recipe.model import Recipe
from edgeimg.tools import Toolbox

from tests.conftest import PROJECT

pytestmark = pytest.mark.integration
GROWTH = PROJECT / "overlays/base/usr/lib/repart.d"
HEADS = {
    "56 entries": ({"entries": 56}, 8 << 10, 2),
    "moved entries": ({"table": 2016}, 1 << 10, 2016),
    "hybrid MBR": ({"hybrid": True}, 1 << 20, 2),
}


def head(path: Path) -> tuple[int, int, bytes]:
    """Sector and number of the entries of the first table, whose digests hold, and the MBR's."""
    with path.open("rb") as file:
        mbr, header = file.read(SECTOR), bytearray(file.read(SECTOR)[:92])
        sector, count, each, crc = struct.unpack_from("<QIII", header, 72)
        file.seek(sector * SECTOR)
        assert zlib.crc32(file.read(count * each)) == crc
    (crc,) = struct.unpack_from("<I", header, 16)
    struct.pack_into("<I", header, 16, 0)
    assert zlib.crc32(header) == crc
    return sector, count, mbr[446:510]


@pytest.mark.parametrize("name", HEADS)
def test_a_head_survives_the_growth_of_the_first_start(
    name: str, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    keys, place, sector = HEADS[name]
    tools, image, loader = toolbox("pack"), tmp_path / "disk.raw", tmp_path / "loader"
    loader.write_bytes(bytes(range(1, 251)) * 2000)
    board = Board.model_validate({"name": "mine", "arch": "arm", **keys})
    plan = disk.plan(Recipe(board=board), ARM, "0" * 63 + "1", {})
    disk.write(plan, {}, image, raw={place: loader}, toolbox=tools)

    def look() -> tuple[tuple[int, int, bytes], dict[str, tuple[int, int]], bytes]:
        assert b"No errors detected" in tools.run("sfdisk", "--verify", image, timeout=60)
        table = json.loads(tools.run("sfdisk", "-J", image, timeout=60))["partitiontable"]
        rows = {row["uuid"].lower(): (row["start"], row["size"]) for row in table["partitions"]}
        with image.open("rb") as file:
            file.seek(place)
            return head(image), rows, file.read(loader.stat().st_size)

    before, rows, data = look()
    assert data == loader.read_bytes()
    assert before[:2] == (sector, board.entries)
    assert (before[2][4] == 0x0C) == board.hybrid
    assert rows == {part.uuid: (part.start // 512, part.size // 512) for part in plan.partitions}
    assert disk.read(image, toolbox=tools).partitions[0].start == plan.partitions[0].start
    tools.run(
        "systemd-repart", "--dry-run=no", f"--definitions={GROWTH}", "--empty=refuse",
        f"--size={plan.size + (512 << 20)}", "--offline=yes", "--no-pager", image, timeout=120,
    )  # fmt: skip
    after, grown, data = look()
    assert data == loader.read_bytes()
    assert after[:2] == before[:2]
    assert not board.hybrid or after[2] == before[2]
    assert len(grown) == len(rows) + 1
    assert rows.items() <= grown.items()
