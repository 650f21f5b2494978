"""The heads of boards' disks: flashed, provisioned and grown, as other tools read them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.fleet import images
from edgeimg.pack import disk, gpt
from edgeimg.provision import partition, target
from edgeimg.tools import Toolbox

from tests.integration import bad_disks, board_disks
from tests.integration.board_disks import HEADS, LOADER, Made, assert_planned, head, loader_of

pytestmark = pytest.mark.integration
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
HOSTNAME = "edgeimg/hostname"


@pytest.fixture(params=HEADS)
def made(request: pytest.FixtureRequest, tmp_path: Path, toolbox: Callable[[str], Toolbox]) -> Made:
    return board_disks.make(request.param, tmp_path, toolbox("pack"))


def test_a_head_survives_the_growth_of_the_first_start(made: Made) -> None:
    before = head(made.raw, made.pack)
    assert_planned(made, before)
    assert before.sector == made.board.table
    assert loader_of(made.raw, made) == LOADER
    assert disk.read(made.raw, toolbox=made.pack).partitions[0].start == made.board.first
    board_disks.grow(made, made.raw, f"--size={made.plan.size + (512 << 20)}")


@bad_disks.needs_loop
def test_a_used_card_has_the_head_of_the_image(made: Made, tmp_path: Path) -> None:
    """All bytes before the first partition, so that no older U-Boot's settings are left.

    The card is larger than the image, provisioned before and after, and grown.
    """
    image = target.choose(made.raw, None)
    target.write(image, {HOSTNAME: b"box-7\n"}, toolbox=made.pack)
    with board_disks.card(tmp_path, made.plan.size + (256 << 20)) as device:
        subprocess.run([EDGEIMG, "flash", "--yes", made.raw, device], check=True)
        assert images.holder(device, toolbox=made.pack) == "box-7"
        same = ["cmp", f"--bytes={made.board.first}", made.raw, device]
        subprocess.run(same, check=True)
        partition.write(device, {HOSTNAME: b"box-8\n"}, toolbox=made.pack)
        assert images.holder(device, toolbox=made.pack) == "box-8"
        subprocess.run(same, check=True)
        made.pack.run("sfdisk", "--relocate", "gpt-bak-std", device, timeout=60)
        assert_planned(made, head(device, made.pack))
        board_disks.grow(made, device)
        assert images.holder(device, toolbox=made.pack) == "box-8"


@bad_disks.needs_loop
@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        *[(name, len(LOADER), gpt.BOOT_LOADER) for name in HEADS],
        ("56 entries", 0, gpt.BOOT_LOADER),
        ("moved entries", 0, gpt.BOOT_LOADER),
        ("hybrid MBR", 0, "its MBR names a partition in sectors of 512 bytes"),
    ],
)
def test_a_disk_with_large_sectors_is_refused_and_keeps_its_bytes(
    name: str, size: int, reason: str, tmp_path: Path, toolbox: Callable[[str], Toolbox]
) -> None:
    """A ROM counts in sectors of 512 bytes: where it would look on such a disk is not known."""
    made = board_disks.make(name, tmp_path, toolbox("pack"), loader=LOADER[:size])
    with bad_disks.loop(tmp_path / "backing", sector=4096, size=made.plan.size) as device:
        before = device.read_bytes()
        argv = [EDGEIMG, "flash", "--yes", made.raw, device]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert errors == [
            f"error: the image is for a board, the disk has sectors of 4096 bytes: {reason}"
        ]
        assert device.read_bytes() == before
