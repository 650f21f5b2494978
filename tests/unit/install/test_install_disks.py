"""The disks that the installer offers, takes and refuses. Nothing is written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeimg.errors import HostError
from edgeimg.flash import devices, kernel, safety
from edgeimg.flash.write import HEAD, MARK
from edgeimg.install import contents, disks
from edgeimg.install.disks import Candidate
from edgeimg.install.rules import Disk

GB = 10**9


def entry(path: str, **more: Any) -> dict[str, Any]:
    """A disk as lsblk lists it: an empty internal one of 64 GB."""
    usual = {"path": path, "name": path.removeprefix("/dev/"), "type": "disk", "size": 64 * GB}
    return {**usual, "maj:min": "1:1", "log-sec": 512, **more}


SSD = entry("/dev/nvme0n1", model="Acme SSD 64", serial="S1", tran="nvme")
EMMC = entry("/dev/mmcblk0", serial="E1", size=16 * GB)
BOOT = entry("/dev/mmcblk0boot0", size=4 << 20, ro=True)
STICK = entry("/dev/sda", model="Stick", rm=True, tran="usb", children=[
    {"path": "/dev/sda2", "type": "part", "size": GB, "mountpoints": ["/"], "fstype": "erofs"},
])  # fmt: skip


def look(
    *entries: dict[str, Any], data: str = "", removable: bool = False
) -> tuple[Candidate, ...]:
    return disks.look(
        4 * GB,
        removable=removable,
        listing=lambda: {"blockdevices": list(entries)},
        data_on=lambda _: data,
    )


def chosen(candidates: tuple[Candidate, ...], **which: Any) -> str:
    return disks.choose(candidates, Disk.model_validate(which)).device.path


def test_the_only_internal_disk() -> None:
    assert chosen(look(STICK, SSD), only_internal=True) == "/dev/nvme0n1"
    assert chosen(look(STICK, EMMC, BOOT), only_internal=True) == "/dev/mmcblk0"
    for more in ({}, {"min_size": "20 GB"}, {"path": "/dev/nvme0n1"}):
        with pytest.raises(HostError, match="2 internal disks, expected one") as caught:
            chosen(look(STICK, SSD, EMMC), only_internal=True, **more)
    assert "/dev/nvme0n1: Acme SSD 64, S1, 64.0 GB: it may be written to" in caught.value.message
    assert "/dev/mmcblk0: E1, 16.0 GB: it may be written to" in caught.value.message
    with pytest.raises(HostError, match="no disk fits the rules: nothing was written") as caught:
        chosen(look(STICK), only_internal=True)
    assert "/dev/sda: Stick, 64.0 GB: it is removable" in caught.value.message
    with pytest.raises(HostError, match="there is no disk"):
        chosen((), only_internal=True)


def test_a_disk_that_fits_and_is_refused_makes_the_rules_ambiguous() -> None:
    raid = {**EMMC, "fstype": "linux_raid_member"}
    with pytest.raises(HostError, match="2 disks fit the rules, expected one") as caught:
        chosen(look(SSD, raid), min_size="1 GB")
    assert "a member of a RAID array" in caught.value.message
    with pytest.raises(HostError, match="2 internal disks") as caught:
        chosen(look(SSD, raid), only_internal=True)
    assert "a member of a RAID array" in caught.value.message
    assert chosen(look(SSD, raid), serial="S1") == "/dev/nvme0n1"


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ({"serial": "S1"}, "its serial number is E1"),
        ({"model": "Acme *"}, "its model is unknown"),
        ({"path": "/dev/nvme0n1"}, "/dev/nvme0n1 is another device"),
        ({"min_size": "20 GB"}, "less than 20000000000"),
    ],
)
def test_each_condition_tells_disks_apart(which: dict[str, Any], why: str) -> None:
    assert chosen(look(SSD, EMMC), **which) == "/dev/nvme0n1"
    with pytest.raises(HostError, match=why):
        chosen(look(EMMC), **which)


def test_a_largest_size() -> None:
    assert chosen(look(SSD, EMMC, BOOT), max_size="20 GB") == "/dev/mmcblk0"
    with pytest.raises(HostError, match="more than 20000000000"):
        chosen(look(SSD), max_size="20 GB")


def test_all_conditions_must_hold() -> None:
    with pytest.raises(HostError, match="its serial number is S1"):
        chosen(look(SSD, EMMC), serial="E1", min_size="20 GB")


def part(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "type": "part", "size": GB, **more}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"children": [part("/dev/x1", mountpoints=["/"])]}, "holds the system that runs here"),
        ({"children": [part("/dev/x1", mountpoints=["/run/stick"])]}, "is mounted on /run/stick"),
        ({"children": [part("/dev/x1", fstype="crypto_LUKS")]}, "an encrypted volume"),
        ({"fstype": "isw_raid_member"}, "a member of a RAID array"),
        ({"children": [part("/dev/x1", fstype="LVM2_member")]}, "a physical volume of LVM"),
        ({"children": [part("/dev/dm-0", type="crypt")]}, "stands on it"),
        ({"size": 2 * GB}, "it holds 2.0 GB, the image needs 4.0 GB"),
        ({"ro": True}, "is write-protected"),
        ({"rm": True}, "it is removable, and the installer writes to internal disks"),
        ({"path": "/dev/mmcblk0boot1"}, "is a boot partition of an eMMC"),
        ({"path": "/dev/mtdblock0"}, "is a flash chip of the board"),
        ({"log-sec": 520}, "sectors of 520 bytes"),
    ],
)
def test_dangerous_disks_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    (good,) = look(SSD)
    assert good.reasons == ()
    (bad,) = look({**SSD, **changes})
    assert [one for one in bad.reasons if reason in one], bad.reasons
    with pytest.raises(HostError) as caught:
        chosen((bad,), path=changes.get("path", SSD["path"]))
    if "rm" in changes or "path" in changes:  # no rule reaches it
        assert "no disk fits the rules" in caught.value.message
    else:
        assert reason in caught.value.message
        # The same functions as `edgeimg flash`.
        assert safety.refusals(bad.device, 4 * GB, fixed=True) == list(bad.reasons)


def test_a_removable_disk_where_the_rules_allow_it() -> None:
    card = {**EMMC, "rm": True}
    assert chosen(look(card, removable=True), serial="E1", removable=True) == "/dev/mmcblk0"
    with pytest.raises(HostError, match="it is removable"):
        chosen(look(card, removable=True), serial="E1")


def test_an_emmc_is_internal_and_an_sd_card_is_not(tmp_path: Path) -> None:
    """lsblk calls both hotpluggable."""
    for name, kind in (("mmcblk0", "MMC"), ("mmcblk0boot0", "MMC"), ("mmcblk1", "SD")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device/type").write_text(f"{kind}\n")
    (tmp_path / "sda/device").mkdir(parents=True)
    assert kernel.emmcs(tmp_path) == {"/dev/mmcblk0", "/dev/mmcblk0boot0"}
    emmc, card = {**EMMC, "hotplug": True}, {**EMMC, "path": "/dev/mmcblk1", "hotplug": True}
    listing = {"blockdevices": [emmc, card]}
    found = devices.disks(kernel.complete(listing, {}, {}, emmcs=kernel.emmcs(tmp_path)))
    assert {one.path: one.removable for one in found} == {
        "/dev/mmcblk0": False, "/dev/mmcblk1": True,
    }  # fmt: skip


def test_data_is_refused() -> None:
    (found,) = look(SSD, data="ntfs 'Windows'")
    assert found.reasons == ()
    with pytest.raises(HostError, match="it holds ntfs 'Windows'") as caught:
        disks.require_free(found)
    assert "erase = true" in str(caught.value.hint)
    disks.require_free(look(SSD)[0])


MIB = 1 << 20
DISK = bytes(70 * MIB)
GATEWAY = [
    part("/dev/x1", fstype="vfat", label="ESP"),
    part("/dev/x2", fstype="erofs", partlabel="gateway_0.1.0"),
]


def dirty(at: int) -> bytes:
    """A blank disk with some bytes at an offset."""
    return DISK[:at] + b"secret" + DISK[at + 6 :]


@pytest.mark.parametrize(
    ("data", "children", "says"),
    [
        (DISK, [], ""),
        (b"\xff" * len(DISK), [], ""),
        (MARK + DISK[len(MARK) :], [part("/dev/x1", fstype="ext4")], ""),
        (b"EFI PART" + DISK[8:], GATEWAY, "vfat 'ESP', erofs 'gateway_0.1.0'"),
        (DISK, [part("/dev/x1", fstype="ext4", label="root")], "ext4 'root'"),
        (dirty(0), [], "data without a known format"),
        (dirty(HEAD - 6), [], "data without a known format"),
        (dirty(35 * MIB), [], "data without a known format"),
        (dirty(len(DISK) - 6), [], "data without a known format"),
    ],
    ids=["blank", "ones", "unfinished", "gateway", "ext4", "first", "head", "middle", "last"],
)
def test_what_is_known_of_the_data_on_a_disk(
    tmp_path: Path, data: bytes, children: list[dict[str, Any]], says: str
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    listed = entry(str(disk), size=len(data), children=children)
    (device,) = devices.disks({"blockdevices": [listed]})
    assert contents.data_on(device) == says


def test_a_disk_that_cannot_be_read_is_not_blank(tmp_path: Path) -> None:
    (device,) = devices.disks({"blockdevices": [entry(str(tmp_path / "none"))]})
    assert "cannot be read" in contents.data_on(device)
