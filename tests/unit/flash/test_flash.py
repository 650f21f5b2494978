"""Flashing: which disks are refused and why, and that nothing counts before it was read back."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from edgeimg.errors import EdgeimgError, HostError, ImageError
from edgeimg.flash import devices, job, safety, source, target
from edgeimg.flash.ahead import StoppedError
from edgeimg.flash.write import HEAD, MARK, ByteCounts, write
from edgeimg.image import blockmap, bmap
from edgeimg.image.blockmap import BlockMap, Extent
from edgeimg.progress import Advance, Label, Silent, Unit

MIB = 1 << 20
SIZE = 24 * MIB


def image(folder: Path, *, packed: bool = True) -> tuple[Path, Path]:
    """An image with data at its start, in its middle and at its end, and its block map."""
    raw = folder / "gateway.raw"
    with raw.open("wb") as file:
        file.write(os.urandom(20480))
        file.seek(3 * MIB)
        file.write(os.urandom(9 * MIB + 4096))
        file.seek(SIZE - 20480)
        file.write(os.urandom(20480))
    blocks = [(0, 4), (768, 768 + 2304), (SIZE // 4096 - 5, SIZE // 4096 - 1)]
    (folder / "gateway.bmap").write_bytes(bmap.document(raw, blocks))
    if packed:
        (folder / "gateway.raw.zst").write_bytes(zstandard.compress(raw.read_bytes()))
    return folder / ("gateway.raw.zst" if packed else "gateway.raw"), folder / "gateway.bmap"


def flashed(
    made: Path,
    blocks: BlockMap,
    disk: Path,
    stop: threading.Event | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> ByteCounts:
    with target.opened(disk) as opened:
        return write(made, blocks, opened, advance=advance, stop=stop or threading.Event())


def same(raw: Path, disk: Path, blocks: BlockMap) -> bool:
    one, other = raw.read_bytes(), disk.read_bytes()
    return all(one[e.start : e.end] == other[e.start : e.end] for e in blocks.extents)


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_mapped_is_on_the_disk_and_nothing_else_is_touched(
    tmp_path: Path, packed: bool
) -> None:
    made, described = image(tmp_path, packed=packed)
    blocks = blockmap.read(described)
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xaa" * (32 * MIB))
    told: list[int] = []
    flashed(made, blocks, disk, advance=told.append)
    assert sum(told) == blocks.mapped
    assert same(tmp_path / "gateway.raw", disk, blocks)
    held = disk.read_bytes()
    assert held[MIB : 3 * MIB] == b"\xaa" * (2 * MIB)  # a file cannot discard
    assert held[-17408:] == bytes(17408)  # where the disk's old backup table was
    assert len(held) == 32 * MIB


def test_a_disk_that_was_not_finished_has_no_table_and_says_so(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xaa" * (32 * MIB))
    stop = threading.Event()
    with pytest.raises(StoppedError):
        flashed(made, blockmap.read(described), disk, stop, lambda _: stop.set())
    assert disk.read_bytes().startswith(MARK)
    flashed(made, blockmap.read(described), disk)
    assert same(tmp_path / "gateway.raw", disk, blockmap.read(described))


class Forgetful(target.Target):
    """A medium that keeps something else than what was written."""

    lie = 5 * MIB

    def write(self, offset: int, data: bytes) -> None:
        if offset <= self.lie < offset + len(data):
            at = self.lie - offset
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        super().write(offset, data)


@pytest.mark.parametrize("place", [5 * MIB, 100, SIZE - 1])
def test_a_medium_that_lies_is_found_out(tmp_path: Path, place: int) -> None:
    made, described = image(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(32 * MIB))
    fd = os.open(disk, os.O_RDWR)
    lying = Forgetful(fd, disk, direct=False)
    lying.lie = place
    with pytest.raises(HostError, match=r"read back at byte .* differs from the data written"):
        write(made, blockmap.read(described), lying, advance=lambda _: None, stop=threading.Event())
    os.close(fd)
    head = disk.read_bytes()[: len(MARK)]
    assert head == MARK or place == 100  # the lie itself is in the mark


class Fails(target.Target):
    """A medium that fails when the table is read back, and takes the mark again."""

    def read(self, offset: int, size: int) -> bytes:
        data = super().read(offset, size)
        if not offset and not data.startswith(MARK) and any(data):
            raise HostError("cannot read")
        return data


def test_a_table_that_cannot_be_read_back_does_not_stay(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(32 * MIB))
    fd = os.open(disk, os.O_RDWR)
    failing = Fails(fd, disk, direct=False)
    with pytest.raises(HostError, match="cannot read"):
        write(
            made, blockmap.read(described), failing, advance=lambda _: None, stop=threading.Event()
        )
    os.close(fd)
    assert disk.read_bytes().startswith(MARK)


class Counterfeit(target.Target):
    """A medium whose addresses start over behind its real end."""

    real = 32 * MIB
    read_back = threading.Event()
    """What is overwritten at the end was read before: it has to be looked at again."""

    def write(self, offset: int, data: bytes) -> None:
        if 16 * MIB < offset < SIZE - 17408:
            assert self.read_back.wait(30)
        for at in range(0, len(data), 4096):
            super().write((offset + at) % self.real, data[at : at + 4096])

    def read(self, offset: int, size: int) -> bytes:
        blocks = range(offset, offset + size, 4096)
        return b"".join(super(Counterfeit, self).read(at % self.real, 4096) for at in blocks)[:size]


@pytest.mark.parametrize("real", [12, 18, 20])
def test_what_later_writes_do_to_earlier_ones_is_found_out(tmp_path: Path, real: int) -> None:
    made, described = image(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    Counterfeit.real, Counterfeit.read_back = real * MIB, threading.Event()
    told: list[int] = []

    def advance(size: int) -> None:
        told.append(size)
        if sum(told) >= 8 * MIB:
            Counterfeit.read_back.set()

    fd = os.open(disk, os.O_RDWR)
    fake = Counterfeit(fd, disk, direct=False)
    blocks = blockmap.read(described)
    with pytest.raises(HostError, match="differs from the data written"):
        write(made, blocks, fake, advance=advance, stop=threading.Event())
    os.close(fd)


def test_going_on_after_an_interruption_keeps_only_what_is_right(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    blocks = blockmap.read(described)
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xaa" * (32 * MIB))
    stop = threading.Event()
    seen = iter(range(100))

    def stops(_: int) -> None:
        if next(seen) == 1:  # two chunks were read back
            stop.set()

    with pytest.raises(StoppedError):
        flashed(made, blocks, disk, stop, stops)
    with disk.open("r+b") as file:
        file.seek(7 * MIB)  # in the second chunk
        file.write(b"other")
    told: list[int] = []
    done = flashed(made, blocks, disk, advance=told.append)
    assert done.kept == 4 * MIB
    assert done.written + done.kept == done.read_back == sum(told) == blocks.mapped
    assert same(tmp_path / "gateway.raw", disk, blocks)
    assert flashed(made, blocks, disk).kept == 0  # a finished disk is written anew


def test_a_disk_that_was_not_finished_with_another_image_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    made, described = image(tmp_path)
    other, other_described = image(tmp_path / "other")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(32 * MIB))
    stop = threading.Event()
    with pytest.raises(StoppedError):
        flashed(other, blockmap.read(other_described), disk, stop, lambda _: stop.set())
    assert flashed(made, blockmap.read(described), disk).kept == 0
    assert same(tmp_path / "gateway.raw", disk, blockmap.read(described))


def test_an_image_that_is_damaged_or_truncated_never_becomes_a_system(tmp_path: Path) -> None:
    made, described = image(tmp_path, packed=False)
    blocks = blockmap.read(described)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(32 * MIB))
    good = made.read_bytes()
    made.write_bytes(good[: 4 * MIB] + b"\0" + good[4 * MIB + 1 :])
    with pytest.raises(ImageError, match="does not match its block map"):
        flashed(made, blocks, disk)
    assert disk.read_bytes().startswith(MARK)
    made.write_bytes(good[: 8 * MIB])
    with pytest.raises(ImageError, match="truncated"):
        flashed(made, blocks, disk)
    packed = zstandard.compress(good)
    zipped = tmp_path / "x.raw.zst"
    zipped.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        flashed(zipped, blocks, disk)
    with pytest.raises(ImageError, match="cannot read"), source.opened(tmp_path / "none"):
        pass


def chosen(path: Path, size: int = SIZE) -> safety.Chosen:
    return safety.choose(path, size, fixed=False)


def test_several_at_once_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    blocks = blockmap.read(described)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(bytes(32 * MIB))
    targets = [chosen(tmp_path / name) for name in ("a", "b", "c")]
    (tmp_path / "b").unlink()
    (tmp_path / "b").write_bytes(bytes(32 * MIB))  # another file by that name
    done = job.flash(made, blocks, targets, logs=tmp_path / "logs", progress=Silent())
    assert [one.ok for one in done] == [True, False, True]
    assert "another file than before" in done[1].error
    logs = sorted(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert sum("read back" in text for text in logs) == 2
    assert sum("failed" in text for text in logs) == 1


def test_what_nobody_foresaw_is_the_failure_of_one_disk(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(32 * MIB))
    targets = [chosen(tmp_path / name) for name in ("a", "b")]
    (tmp_path / "a").unlink()
    gone, done = job.flash(
        made, blockmap.read(described), targets, logs=None, progress=Silent()
    )  # fmt: skip
    assert (gone.ok, done.ok) == (False, True)
    assert "No such file" in gone.error


class Remarks(Silent):
    """Keeps what is remarked; may spoil the logs when writing begins."""

    def __init__(self, spoil: Callable[[], object] = lambda: None) -> None:
        self.said: list[str] = []
        self.spoil = spoil

    def task(
        self, label: Label, total: int | None, unit: Unit = "bytes"
    ) -> AbstractContextManager[Advance]:
        self.spoil()
        return super().task(label, total, unit)

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize("midway", [False, True])
def test_a_log_that_cannot_be_written_stops_no_flash(tmp_path: Path, midway: bool) -> None:
    made, described = image(tmp_path)
    (tmp_path / "disk").write_bytes(bytes(32 * MIB))
    logs = tmp_path / "logs"

    def spoil() -> None:
        if midway:
            logs.rename(tmp_path / "away")
            logs.touch()

    if not midway:
        logs.touch()
    remarks = Remarks(spoil)
    (done,) = job.flash(
        made, blockmap.read(described), [chosen(tmp_path / "disk")], logs=logs, progress=remarks
    )
    assert (done.ok, done.log) == (True, "")
    (said,) = remarks.said
    assert str(logs) in said
    assert "cannot be written: " in said


def test_a_new_file_appears_when_it_is_finished(tmp_path: Path) -> None:
    made, described = image(tmp_path)
    blocks = blockmap.read(described)
    (done,) = job.flash(made, blocks, [chosen(tmp_path / "new")], logs=None, progress=Silent())
    assert done.ok
    assert (tmp_path / "new").read_bytes() == (tmp_path / "gateway.raw").read_bytes()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    made.write_bytes(made.read_bytes()[:1000])
    before = set(tmp_path.iterdir())
    (failed,) = job.flash(made, blocks, [chosen(tmp_path / "x")], logs=None, progress=Silent())
    assert not failed.ok
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:-20], "damaged"),
        (lambda text: text.replace(b'"2.0"', b'"1.3"'), "damaged"),
        (lambda text: text.replace(b"0-4", b"0-5"), "its own digest"),
        (lambda text: b"<!DOCTYPE x>" + text, "no block map"),
        (lambda text: b"", "damaged"),
        (lambda text: b"<bmap version='2.0'/>", "damaged"),
    ],
)
def test_block_maps_that_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    _, described = image(tmp_path)
    described.write_bytes(change(described.read_bytes()))
    with pytest.raises(ImageError, match=told):
        blockmap.read(described)


@pytest.mark.parametrize(
    "blocks", [[(0, 4), (3, 5)], [(5, 4)], [(0, 1 << 40)], []], ids=["over", "back", "far", "none"]
)
def test_block_maps_that_say_impossible_things(
    tmp_path: Path, blocks: list[tuple[int, int]]
) -> None:
    path = tmp_path / "x.bmap"
    path.write_text(block_map("40960", "4096", blocks))
    with pytest.raises(ImageError):
        blockmap.read(path)


def test_block_maps_of_impossible_sizes(tmp_path: Path) -> None:
    path = tmp_path / "x.bmap"
    path.write_text(block_map("40961", "4096", [(0, 10)]))  # its last block is cut short
    assert blockmap.read(path).mapped == 40961
    for size, block, last in (
        ("40960", "4096", 10),
        ("4096", "4096", 0),
        (f"{10**30}", "4096", 0),
        ("\u0664" * 6, "4096", 0),
        ("-40960", "4096", 0),
        ("40960", f"{512 << 40}", 0),
        ("40960", "0", 0),
        ("40960", "1000", 0),
        ("40960", "9" * 5000, 0),
    ):
        path.write_text(block_map(size, block, [(0, last)]))
        with pytest.raises(ImageError, match="is damaged") as caught:
            blockmap.read(path)
        assert "set_int_max_str_digits" not in caught.value.message


def block_map(size: str, block: str, blocks: list[tuple[int, int]]) -> str:
    rows = "".join(f'<Range chksum="{"0" * 64}"> {a}-{b} </Range>' for a, b in blocks)
    text = (
        f'<bmap version="2.0"><ImageSize>{size}</ImageSize><BlockSize>{block}</BlockSize>'
        f"<ChecksumType>sha256</ChecksumType><BmapFileChecksum>{'0' * 64}</BmapFileChecksum>"
        f"<BlockMap>{rows}</BlockMap></bmap>"
    )
    return text.replace("0" * 64 + "</Bmap", hashlib.sha256(text.encode()).hexdigest() + "</Bmap")


def entry(path: str, kind: str = "disk", **more: Any) -> dict[str, Any]:
    return {
        "path": path, "type": kind, "size": 32 << 30, "rm": True, "hotplug": True, "ro": False,
        "mountpoints": [None], "fstype": None, **more,
    }  # fmt: skip


def part(path: str, **more: Any) -> dict[str, Any]:
    return entry(path, more.pop("type", "part"), **more)


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        (entry("/dev/sdb", children=[part("/dev/sdb1", mountpoints=["/"])]), "runs here"),
        (entry("/dev/sdb", children=[part("/dev/sdb1", mountpoints=["/mnt"])]), "mounted on /mnt"),
        (entry("/dev/sdb", mountpoints=["/mnt"]), "mounted on /mnt"),
        (entry("/dev/sdb", children=[part("/dev/sdb2", mountpoints=["[SWAP]"])]), "swap in use"),
        (entry("/dev/sdb", fstype="LVM2_member"), "LVM"),
        (entry("/dev/sdb", children=[part("/dev/sdb1", fstype="LVM2_member")]), "LVM"),
        (entry("/dev/sdb", fstype="linux_raid_member"), "RAID"),
        (entry("/dev/sdb", fstype="isw_raid_member"), "RAID"),
        (entry("/dev/sdb", children=[part("/dev/sdb1", fstype="zfs_member")]), "ZFS"),
        (entry("/dev/sdb", children=[part("/dev/sdb1", fstype="crypto_LUKS")]), "LUKS"),
        (entry("/dev/sdb", fstype="bcache"), "bcache"),
        (entry("/dev/sdb", children=[
            part("/dev/sdb1", children=[part("/dev/mapper/x", type="crypt", children=[
                part("/dev/mapper/vg-root", type="lvm", mountpoints=["/"])])])]), "runs here"),
        (entry("/dev/sdb", children=[part("/dev/md0", type="raid1")]), "stands on it"),
        (entry("/dev/sdb", children=[part("/dev/mapper/m", type="mpath")]), "stands on it"),
        (entry("/dev/sdb", ro=True), "write-protected"),
        (entry("/dev/sdb", size=0), "no medium"),
        (entry("/dev/sdb", **{"log-sec": 1024}), "sectors of 1024 bytes"),
        (entry("/dev/sdb", children=[part("/dev/sdb1", mountpoints=[None, "/a", "/b"])]), "/b"),
    ],
)  # fmt: skip
def test_what_is_on_a_disk_or_stands_on_it_protects_it(disk: dict[str, Any], told: str) -> None:
    (device,) = devices.disks({"blockdevices": [disk]})
    assert any(told in danger for danger in device.dangers), device.dangers


def test_a_disk_with_sectors_of_4096_bytes_is_eligible() -> None:
    (device,) = devices.disks({"blockdevices": [entry("/dev/nvme0n1", **{"log-sec": 4096})]})
    assert device.dangers == ()
    assert device.to_json()["sector"] == 4096


def test_memory_and_loop_devices_without_a_file_are_not_listed() -> None:
    listed = [entry("/dev/sdb", size=0), entry("/dev/loop0", "loop")]
    left_out = [entry("/dev/loop1", "loop", size=0), entry("/dev/zram0", mountpoints=["[SWAP]"])]
    found = devices.tangible(devices.disks({"blockdevices": [*listed, *left_out]}))
    assert [device.path for device in found] == ["/dev/loop0", "/dev/sdb"]


def test_a_card_with_something_on_it_is_eligible_and_described() -> None:
    card = entry(
        "/dev/sdb", vendor="ACME    ", model="Reader", serial="0042", tran="usb",
        children=[part("/dev/sdb1", fstype="vfat", label="BOOT"), part("/dev/sdb2")],
    )  # fmt: skip
    (device,) = devices.disks({"blockdevices": [card, part("/dev/sr0", type="rom")]})
    assert device.dangers == ()
    assert (device.model, device.serial, device.bus) == ("ACME Reader", "0042", "usb")
    assert device.holds == ("vfat 'BOOT'",)
    assert devices.disk_of({"blockdevices": [card]}, "/dev/sdb2") == "/dev/sdb"


def test_files_that_are_no_targets(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="neither a disk nor a file"):
        chosen(tmp_path)
    (tmp_path / "small").write_bytes(bytes(100))
    with pytest.raises(HostError, match="a file of 100 bytes"):
        chosen(tmp_path / "small")
    with pytest.raises(HostError, match="there is no device"):
        chosen(Path("/dev/edgeimg-none"))


def test_a_link_that_leads_elsewhere_after_the_question_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(SIZE))
    (tmp_path / "link").symlink_to("a")
    shown = chosen(tmp_path / "link")
    safety.still_the_same(shown)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    with pytest.raises(EdgeimgError, match=r"leads to .*b now"):
        safety.still_the_same(shown)


def test_the_head_of_an_extent_that_crosses_it_is_compared_too(tmp_path: Path) -> None:
    raw = tmp_path / "x.raw"
    raw.write_bytes(os.urandom(4 * MIB))
    whole = Extent(start=0, end=4 * MIB, sha256=hashlib.sha256(raw.read_bytes()).hexdigest())
    blocks = BlockMap(image_size=4 * MIB, extents=(whole,))
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 * MIB))
    flashed(raw, blocks, disk)
    assert disk.read_bytes() == raw.read_bytes()
    assert whole.end > HEAD
