"""Files for a gateway, put into a finished image and read back by another tool."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.errors import BudgetError, HostError, ImageError
from edgeimg.flash import job, safety
from edgeimg.flash import source as source_of
from edgeimg.image import blockmap
from edgeimg.pack import disk, fat
from edgeimg.progress import Silent
from edgeimg.provision import folder, partition, target
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.tools import Toolbox
from pydantic import SecretStr

from tests import fat_files, loop_devices
from tests.integration.bad_disks import needs_loop
from tests.integration.test_flash import run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(X86_64, {}, tmp_path_factory.mktemp("image")).raw


def test_files_are_on_the_config_partition_and_nothing_else_has_changed(image: Path, tiny) -> None:
    box = Settings.model_validate({
        "hostname": "box-1",
        "k3s": {"token_file": SecretStr("t")},
        "network": {"lan": {"interface": "en*"}},
    })  # fmt: skip
    part = disk.read(image, toolbox=tiny.pack)["config"]
    before = image.read_bytes()
    partition.write(image, files(box), toolbox=tiny.pack)
    after = image.read_bytes()
    assert after[: part.start] == before[: part.start]
    assert after[part.start + part.size :] == before[part.start + part.size :]

    alone = image.with_name("config.fat")
    alone.write_bytes(after[part.start : part.start + part.size])
    tiny.pack.run("fsck.fat", "-n", str(alone), timeout=60)
    assert sorted(fat.names(alone, "edgeimg", toolbox=tiny.pack)) == [
        "hostname", "k3s.yaml", "network",
    ]  # fmt: skip
    for path, content in files(box).items():
        assert partition.read(image, path, toolbox=tiny.pack) == content


def test_a_second_time_replaces_what_it_names(image: Path, tiny) -> None:
    for name in ("box-1", "box-2"):
        partition.write(image, files(Settings(hostname=name)), toolbox=tiny.pack)
    assert partition.read(image, "edgeimg/hostname", toolbox=tiny.pack) == b"box-2\n"


SECRET = "hush-ooH4aiph-never-seen-again"


def told(toolbox: Toolbox, place: str, name: str) -> bytes:
    """A file of a FAT, by mtype(1)."""
    return toolbox.run("mtype", "-i", place, f"::/{name}", timeout=60)


def test_nothing_of_an_earlier_provisioning_is_left_and_others_files_stay(
    image: Path, tiny, tmp_path: Path
) -> None:
    part = disk.read(image, toolbox=tiny.pack)["config"]
    mine = tmp_path / "mine.txt"
    mine.write_text("of the owner")
    fat_files.add(image, {"notes/mine.txt": mine}, offset=part.start, toolbox=tiny.pack)
    first = Settings.model_validate({"k3s": {"token_file": SecretStr(SECRET)}})
    partition.write(image, files(first), toolbox=tiny.pack)
    assert SECRET.encode() in image.read_bytes()
    partition.write(image, files(Settings(hostname="box-3")), toolbox=tiny.pack)
    assert SECRET.encode() not in image.read_bytes()
    assert fat.names(image, "edgeimg", offset=part.start, toolbox=tiny.pack) == ["hostname"]
    place = f"{image}@@{part.start}"
    assert told(tiny.pack, place, "notes/mine.txt") == b"of the owner"
    assert b"belongs to the gateway" in told(tiny.pack, place, "README.txt")


def test_a_damaged_file_system_is_made_whole(image: Path, tiny, tmp_path: Path) -> None:
    part = disk.read(image, toolbox=tiny.pack)["config"]
    with image.open("r+b") as file:
        file.seek(part.start)
        file.write(b"\xff" * (1 << 20))
    for hostname, lost in (("box-4", 1), ("box-5", 0)):
        (tmp_path / "box.toml").write_text(f'hostname = "{hostname}"\n')
        done = run("provision", image, tmp_path / "box.toml", "--yes")
        assert done.returncode == 0, done.stderr
        assert told(tiny.pack, f"{image}@@{part.start}", "edgeimg/hostname").decode() == (
            f"{hostname}\n"
        )
        message = "the config partition cannot be read and is formatted: your own files"
        assert done.stderr.count(message) == lost


def test_equal_settings_give_equal_bytes(image: Path, tiny, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    shutil.copyfile(image, other)
    for one in (image, other):
        partition.write(one, files(Settings(hostname="box-5")), toolbox=tiny.pack)
        partition.write(one, files(Settings(hostname="box-6")), toolbox=tiny.pack)
    assert filecmp.cmp(image, other, shallow=False)


def test_more_than_there_is_room_for_is_refused_and_changes_nothing(image: Path, tiny) -> None:
    before = image.read_bytes()
    with pytest.raises(BudgetError, match="CONFIG partition needs"):
        partition.write(image, {"edgeimg/ca/01.crt": bytes(64 << 20)}, toolbox=tiny.pack)
    assert image.read_bytes() == before


@pytest.mark.parametrize("suffix", [".raw", ".raw.zst"])
def test_a_copy_of_a_published_image_is_provisioned_and_can_be_flashed(
    tiny, publish_image, tmp_path: Path, suffix: str
) -> None:
    packed = tiny.make(X86_64, {}, tmp_path)
    published = publish_image(tiny, packed, tmp_path / "out")
    source = published.directory / published.file(".raw.zst").name
    before = source.read_bytes()
    settings = Settings.model_validate({"hostname": "box-1", "ntp": ["10.0.0.1"]})
    copy = tmp_path / f"box-1{suffix}"
    target.write(target.choose(source, copy), files(settings), toolbox=tiny.pack)
    assert source.read_bytes() == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob("*box-1*")) == [
        "box-1.bmap", f"box-1{suffix}",
    ]  # fmt: skip

    card = tmp_path / "card.img"
    blocks = blockmap.read(blockmap.beside(copy))
    chosen = safety.choose(card, blocks.image_size, fixed=False)
    (outcome,) = job.flash(copy, blocks, [chosen], logs=None, progress=Silent())
    assert outcome.ok, outcome.error
    place = f"{card}@@{disk.read(card, toolbox=tiny.pack)['config'].start}"
    assert told(tiny.pack, place, "edgeimg/hostname") == b"box-1\n"
    assert told(tiny.pack, place, "edgeimg/ntp") == b"10.0.0.1\n"

    with pytest.raises(HostError, match="is there already"):
        target.choose(source, copy)
    assert (tmp_path / "box-1.bmap").stat().st_mode & 0o777 == 0o600
    # An image that is provisioned in its place can still be flashed: its block map follows. Both
    # are their owner's alone then: a short secret can be guessed from digests.
    if suffix == ".raw":
        for name in ("box-1.raw", "box-1.bmap"):
            (tmp_path / name).chmod(0o644)
        target.write(target.choose(copy, None), files(Settings(hostname="b")), toolbox=tiny.pack)
        for name in ("box-1.raw", "box-1.bmap"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        again = blockmap.read(blockmap.beside(copy))
        with source_of.opened(copy) as stream:
            assert sum(1 for _ in source_of.pieces(stream, again, copy)) > 0


@needs_loop
def test_a_disk_is_provisioned_unless_it_is_in_use(image: Path, tiny, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    shutil.copyfile(image, card)
    told_by = subprocess.run(
        ["losetup", "-f", "--show", card], check=True, capture_output=True, text=True
    )
    device = Path(told_by.stdout.strip())
    place = tmp_path / "mounted"
    place.mkdir()
    start = disk.read(card, toolbox=tiny.pack)["config"].start
    try:
        chosen = target.choose(device, None)
        assert chosen.kind == "disk"
        target.write(chosen, files(Settings(hostname="box-8")), toolbox=tiny.pack)
        assert told(tiny.pack, f"{card}@@{start}", "edgeimg/hostname") == b"box-8\n"
        with pytest.raises(HostError, match="is for images"):
            target.choose(device, tmp_path / "x.raw")
        # The loop device is a file system of its own now, so that it can be mounted.
        subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True, capture_output=True)
        subprocess.run(["mount", device, place], check=True)
        try:
            with pytest.raises(HostError, match="is mounted on") as refused:
                target.choose(device, None)
            assert "umount" in (refused.value.hint or "")
            folder.write(place, files(Settings(hostname="box-9")))
            assert (place / "edgeimg/hostname").read_text() == "box-9\n"
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


@needs_loop
def test_a_disk_is_held_while_it_is_written(image: Path, tiny, tmp_path: Path) -> None:
    cards = [tmp_path / "card.img", tmp_path / "other.img"]
    for card in cards:
        shutil.copyfile(image, card)
    with loop_devices.readers(1) as (reader,):
        loop_devices.insert(reader, cards[0])
        chosen = target.choose(reader, None)
        # lsblk does not tell that a program has it; the kernel does.
        holder = os.open(reader, os.O_RDONLY | os.O_EXCL)
        try:
            with pytest.raises(HostError, match="is in use"):
                target.write(chosen, files(Settings(hostname="box-8")), toolbox=tiny.pack)
        finally:
            os.close(holder)
        subprocess.run(["losetup", "-d", reader], check=True)
        loop_devices.insert(reader, cards[1])
        with pytest.raises(HostError, match="another disk than the one that was shown"):
            target.write(chosen, files(Settings(hostname="box-8")), toolbox=tiny.pack)
    for card in cards:
        assert filecmp.cmp(image, card, shallow=False)


def test_a_compressed_image_is_not_written_to(tmp_path: Path) -> None:
    image = tmp_path / "x.raw.zst"
    image.write_bytes(b"")
    with pytest.raises(ImageError, match="a provisioned copy is made of it"):
        target.choose(image, None)


CONFIG = f"size=4MiB, name=config, type={disk.BASIC_DATA_TYPE}\n"
ESP = f"size=1MiB, type={disk.ESP_TYPE}\n"
VERITY = f"size=1MiB, type={X86_64.verity_type}\n"


def partitioned(place: Path, table: str, tiny) -> Path:
    script = f"label: gpt\n{table}".encode()
    tiny.pack.run("sfdisk", "--quiet", "--no-reread", str(place), input=script, timeout=60)
    return place


@pytest.mark.parametrize(
    ("table", "lacking"),
    [
        ("size=1MiB, name=data\n", "no config partition .*, no EFI .*, no partition with hashes"),
        (CONFIG, "it has no EFI system partition, no partition with hashes"),
        (f"{CONFIG}{ESP}", "it has no partition with hashes"),
        (f"{CONFIG}{VERITY}", "it has no EFI system partition$"),
        (f"{ESP}{VERITY}size=4MiB, name=config\n", r"it has no config partition \(basic data\)$"),
    ],
)
def test_a_disk_that_edgeimg_did_not_make_is_left_as_it_is(
    tmp_path: Path, tiny, table: str, lacking: str
) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(16 << 20))
    before = partitioned(other, table, tiny).read_bytes()
    with pytest.raises(ImageError, match=f"not a disk that edgeimg made: .*{lacking}"):
        partition.write(other, {"edgeimg/hostname": b"x\n"}, toolbox=tiny.pack)
    other.chmod(0o644)
    with pytest.raises(ImageError):
        target.write(target.choose(other, None), {"edgeimg/hostname": b"x\n"}, toolbox=tiny.pack)
    assert other.read_bytes() == before
    assert other.stat().st_mode & 0o777 == 0o644


@needs_loop
def test_sectors_of_another_size_are_told(tmp_path: Path, tiny) -> None:
    card = tmp_path / "card.img"
    card.write_bytes(bytes(16 << 20))
    with loop_devices.readers(1) as (reader,):
        subprocess.run(["losetup", "--sector-size", "1024", reader, card], check=True)
        partitioned(reader, f"{CONFIG}{ESP}{VERITY}", tiny)
        with pytest.raises(ImageError, match="sectors have 1024 bytes, not 512 or 4096"):
            partition.write(reader, {"edgeimg/hostname": b"x\n"}, toolbox=tiny.pack)
