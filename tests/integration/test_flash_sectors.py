"""The same image on disks with sectors of 512 and of 4096 bytes; other programs are the judges."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.errors import ImageError
from edgeimg.flash import job, safety, sectors
from edgeimg.flash.sectors import SectorImage
from edgeimg.fleet import images
from edgeimg.image import blockmap, bmap
from edgeimg.image.partitions import DiskPlan
from edgeimg.pack import disk, esp, fat
from edgeimg.progress import Silent
from edgeimg.provision import partition
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image
from edgeimg.tools import Toolbox

from tests.integration import bad_disks

pytestmark = [pytest.mark.integration, bad_disks.needs_loop]
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
MIB = 1 << 20
EPOCH = 1767225600


@dataclass(frozen=True)
class Made:
    """An image with a real partition table and real FATs."""

    raw: Path
    plan: DiskPlan
    files: dict[str, bytes]
    """Of the EFI system partition."""
    pack: Toolbox


@pytest.fixture
def made(tmp_path: Path, toolbox: Callable[[str], Toolbox]) -> Made:
    pack, root, verity = toolbox("pack"), tmp_path / "root", tmp_path / "verity"
    root.write_bytes(b"root" * (MIB // 2))
    verity.write_bytes(b"hash" * 4096)
    settings = {"esp": 34 * MIB, "slot": 8 * MIB, "verity": 2 * MIB, "config": 17 * MIB}
    recipe = Recipe(image=Image.model_validate(settings))
    sizes = {"root-a": root.stat().st_size, "root-a-verity": verity.stat().st_size}
    plan = disk.plan(recipe, X86_64, "0123456789abcdef" * 4, sizes)
    files = {
        "EFI/BOOT/BOOTX64.EFI": b"loader" * 999,
        "EFI/Linux/gateway_0.1.0+3.efi": b"uki" * 99999,
        "loader/loader.conf": b"timeout 0\n",
    }
    sources = {}
    for number, (path, content) in enumerate(files.items()):
        sources[path] = tmp_path / f"file-{number}"
        sources[path].write_bytes(content)
    parts = {"esp": tmp_path / "esp", "root-a": root, "root-a-verity": verity,
             "config": tmp_path / "config"}  # fmt: skip
    fat.make(parts["esp"], sources, size=plan["esp"].size, bits=32, label="ESP", volume_id=1,
             epoch=EPOCH, toolbox=pack)  # fmt: skip
    esp.make_config(parts["config"], size=plan["config"].size, volume_id=2, epoch=EPOCH,
                    toolbox=pack)  # fmt: skip
    raw = tmp_path / "gateway.raw"
    disk.write(plan, parts, raw, toolbox=pack)
    ranges = bmap.ranges(plan, bmap.content_sizes(raw, plan, sizes))
    (tmp_path / "gateway.bmap").write_bytes(bmap.document(raw, ranges))
    return Made(raw, plan, files, pack)


def test_a_disk_with_large_sectors_holds_the_same_image(made: Made, tmp_path: Path) -> None:
    with bad_disks.loop(tmp_path / "backing", sector=4096, size=made.plan.size) as device:
        ledger = tmp_path / "ledger"
        command = [EDGEIMG, "flash", "--json", "--yes", "--ledger", ledger, made.raw, device]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        (outcome,) = json.loads(result.stdout)["devices"]
        assert (outcome["ok"], outcome["sector"]) == (True, 4096)
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert [line["sector"] for line in lines] == [4096, 4096]
        assert_table(made, device)
        for name in ("root-a", "root-a-verity"):
            at = [f"--ignore-initial={made.plan[name].start}", f"--bytes={MIB // 2}"]
            subprocess.run(["cmp", *at, device, made.raw], check=True)
        assert_fats(made, device, tmp_path)
        partition.write(device, {"edgeimg/hostname": b"box-7\n"}, toolbox=made.pack)
        assert images.holder(device, toolbox=made.pack) == "box-7"
        assert_fats(made, device, tmp_path)


def assert_table(made: Made, device: Path) -> None:
    table = json.loads(made.pack.run("sfdisk", "--json", device, timeout=60))["partitiontable"]
    assert (table["sectorsize"], table["firstlba"]) == (4096, 6)
    assert table["id"].lower() == made.plan.uuid
    found = [
        (row["start"] * 4096, row["size"] * 4096, row["uuid"].lower(), row["name"])
        for row in table["partitions"]
    ]
    assert found == [
        (part.start, part.size, part.uuid, part.label) for part in made.plan.partitions
    ]
    # It compares both tables. The second is at the end only of a disk as large as the image.
    assert b"No errors detected" in made.pack.run("sfdisk", "--verify", device, timeout=60)


def assert_fats(made: Made, device: Path, folder: Path) -> None:
    for name in ("esp", "config"):
        part, copy = made.plan[name], folder / f"{name}.copy"
        with device.open("rb") as file:
            file.seek(part.start)
            copy.write_bytes(file.read(part.size))
        assert copy.read_bytes()[11:13] == (4096).to_bytes(2, "little")
        made.pack.run("fsck.fat", "-n", copy, timeout=60)
        facts = subprocess.run(
            ["blkid", "-p", "-o", "export", copy], capture_output=True, text=True, check=True
        ).stdout
        assert f"LABEL={name.upper()}\n" in facts
        assert "TYPE=vfat\n" in facts
    found = folder / "found"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    files = fat.extract_all(folder / "esp.copy", found, toolbox=made.pack)
    assert {path: source.read_bytes() for path, source in files.items()} == made.files


def test_a_larger_disk_has_its_second_table_at_the_end_of_the_image(
    made: Made, tmp_path: Path
) -> None:
    size = 2 * made.plan.size
    with bad_disks.loop(tmp_path / "backing", sector=4096, size=size) as device:
        subprocess.run([EDGEIMG, "flash", "--yes", made.raw, device], check=True)
        with device.open("rb") as disk_file:
            disk_file.seek(4096 + 32)
            assert int.from_bytes(disk_file.read(8), "little") == made.plan.size // 4096 - 1
            disk_file.seek(size - 24576)
            assert not any(disk_file.read(24576))
        made.pack.run("sfdisk", "--relocate", "gpt-bak-std", device, timeout=60)
        assert b"No errors detected" in made.pack.run("sfdisk", "--verify", device, timeout=60)


@pytest.mark.parametrize(
    ("mib", "bits", "version"),
    [(9, 16, "FAT12"), (15, 16, "FAT12"), (17, 16, "FAT16"), (128, 32, "FAT16"),
     (256, 32, "FAT16"), (257, 32, "FAT32")],
)  # fmt: skip
def test_a_fat_is_what_its_number_of_clusters_says(
    tmp_path: Path, toolbox: Callable[[str], Toolbox], mib: int, bits: int, version: str
) -> None:
    source, image, pack = tmp_path / "source", tmp_path / "fat", toolbox("pack")
    source.write_bytes(b"text\n" * 999)
    fat.make(
        image, {"a/b.txt": source}, size=mib * MIB, bits=bits, label="ESP", volume_id=7,
        epoch=EPOCH, sector=4096, toolbox=pack,
    )  # fmt: skip
    pack.run("fsck.fat", "-n", image, timeout=60)
    facts = subprocess.run(
        ["blkid", "-p", "-o", "export", image], capture_output=True, text=True, check=True
    ).stdout
    assert f"VERSION={version}\n" in facts
    (tmp_path / "found").mkdir()
    found = fat.extract_all(image, tmp_path / "found", toolbox=pack)
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "a/b.txt": source.read_bytes()
    }


def test_a_boot_loader_before_the_first_partition_is_refused(made: Made, tmp_path: Path) -> None:
    blocks = blockmap.read(blockmap.beside(made.raw))
    sectors.lay_out(made.raw, blocks, tmp_path, sector=4096, toolbox=made.pack)
    with made.raw.open("r+b") as file:
        file.seek(512 << 10)
        file.write(b"boot loader")
    sizes = {"root-a": 2 * MIB, "root-a-verity": 4 * 4096}
    ranges = [(0, made.plan.partitions[0].start),
              *bmap.ranges(made.plan, bmap.content_sizes(made.raw, made.plan, sizes))]  # fmt: skip
    (tmp_path / "new.bmap").write_bytes(bmap.document(made.raw, bmap.merged(ranges)))
    again = blockmap.read(tmp_path / "new.bmap")
    with pytest.raises(ImageError, match="a boot loader before the first partition"):
        sectors.lay_out(made.raw, again, tmp_path, sector=4096, toolbox=made.pack)


def test_an_interrupted_job_does_not_touch_a_disk(made: Made, tmp_path: Path) -> None:
    image = SectorImage(path=made.raw, blocks=blockmap.read(blockmap.beside(made.raw)))
    stop = threading.Event()
    with bad_disks.loop(tmp_path / "backing", size=made.plan.size) as device:
        before = device.read_bytes()
        chosen = safety.choose(device, image.blocks.image_size, fixed=True)
        stop.set()
        outcome = job.flash_one(image, chosen, logs=None, progress=Silent(), stop=stop)
        assert (outcome.ok, outcome.interrupted) == (False, True)
        assert device.read_bytes() == before
        stop.clear()
        assert job.flash_one(image, chosen, logs=None, progress=Silent(), stop=stop).ok


def test_equal_images_are_laid_out_equally(made: Made, tmp_path: Path) -> None:
    blocks = blockmap.read(blockmap.beside(made.raw))
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        results.append(
            sectors.lay_out(made.raw, blocks, tmp_path / name, sector=4096, toolbox=made.pack)
        )
    assert results[0].blocks == results[1].blocks
    assert results[0].path.read_bytes() == results[1].path.read_bytes()
    assert results[0].blocks.image_size == blocks.image_size
