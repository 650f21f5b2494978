"""The installer's choices: rules, disks, rows, questions. Nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARM64, X86_64
from edgeimg.errors import FlashError, HostError, ImageError, ProvisionError
from edgeimg.flash import devices, safety
from edgeimg.flash.write import MARK
from edgeimg.fleet import reading
from edgeimg.fleet.ledger import Entry, Read
from edgeimg.fleet.reading import Fleet
from edgeimg.install import countdown, disks, machine, rows, rules, source
from edgeimg.install.disks import Candidate
from edgeimg.install.machine import Machine
from edgeimg.install.menu import Menu
from edgeimg.install.plan import Plan
from edgeimg.install.rules import SIGNS, Disk, Rules

GB = 10**9
PAGE = Path(__file__).parents[2] / "docs/how-to/installer.md"


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


def look(*entries: dict[str, Any], data: str = "", **allowed: bool) -> tuple[Candidate, ...]:
    return disks.look(
        4 * GB,
        removable=allowed.get("removable", False),
        erase=allowed.get("erase", False),
        listing=lambda: {"blockdevices": list(entries)},
        unknown=lambda _: data,
    )


# --- rules ---------------------------------------------------------------------------------------


def load(folder: Path, text: str) -> Rules:
    path = folder / "install.toml"
    path.write_text(text)
    return rules.load(path)


GOOD = 'image = "release"\n[disk]\nonly_internal = true\n'


def test_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    text = f'key = "k.asc"\nfleet = "f.csv"\nledger = "/run/l"\n{GOOD}'
    found = load(tmp_path, text)
    assert (found.image, found.key, found.fleet) == (
        tmp_path / "release", tmp_path / "k.asc", tmp_path / "f.csv",
    )  # fmt: skip
    assert found.ledger == Path("/run/l")
    assert (found.countdown, found.after, found.row) == (30, "stay", SIGNS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('image = "x"\n', "disk: is missing"),
        ('[disk]\nserial = "x"\n', "image: is missing"),
        ('image = "x"\n[disk]\n', r":2: disk: expected one of serial, model, path"),
        ('image = "x"\n[disk]\nerase = true\n', "expected one of serial"),
        ('image = "x"\n[disk]\npath = "sda"\n', r":3: disk\.path: expected a device"),
        ('image = "x"\n[disk]\nmin_size = "2 GB"\nmax_size = "1 GB"\n', "larger than max_size"),
        ('image = "x"\n[disk]\nonly_internal = true\nremovable = true\n', "contradict"),
        (f'row = ["mac"]\n{GOOD}', "row without a fleet"),
        (f'row = ["imei"]\nfleet = "f"\n{GOOD}', r":1: row\.0: expected 'dmi-serial'"),
        (f'after = "halt"\n{GOOD}', "expected 'stay', 'reboot' or 'poweroff'"),
        (f"countdown = -1\n{GOOD}", ":1: countdown"),
        (f"contdown = 1\n{GOOD}", "did you mean 'countdown'"),
        ("= 1", ":1: not TOML|:1:"),
    ],
)
def test_wrong_rules_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ProvisionError, match=says) as caught:
        load(tmp_path, text)
    assert caught.value.hint is None or "documentation" in caught.value.hint
    load(tmp_path, GOOD)


def test_every_key_is_on_the_page() -> None:
    text = PAGE.read_text()
    for model in (Rules, Disk):
        assert [name for name in model.model_fields if f"`{name}`" not in text] == []


# --- disks ---------------------------------------------------------------------------------------


def chosen(candidates: tuple[Candidate, ...], **which: Any) -> str:
    return disks.choose(candidates, Disk.model_validate(which)).device.path


def test_the_only_internal_disk() -> None:
    assert chosen(look(STICK, SSD), only_internal=True) == "/dev/nvme0n1"
    assert chosen(look(STICK, EMMC, BOOT), only_internal=True) == "/dev/mmcblk0"
    with pytest.raises(HostError, match="2 disks fit the rules, expected one") as caught:
        chosen(look(STICK, SSD, EMMC), only_internal=True)
    assert "/dev/nvme0n1: Acme SSD 64, S1, 64.0 GB: it may be written to" in caught.value.message
    assert "/dev/mmcblk0: E1, 16.0 GB: it may be written to" in caught.value.message
    with pytest.raises(HostError, match="no disk fits the rules: nothing was written") as caught:
        chosen(look(STICK), only_internal=True)
    assert "/dev/sda: Stick, 64.0 GB: it is removable" in caught.value.message
    with pytest.raises(HostError, match="there is no disk"):
        chosen((), only_internal=True)


def test_a_disk_that_fits_and_is_refused_makes_the_rules_ambiguous() -> None:
    raid = {**EMMC, "fstype": "linux_raid_member"}
    with pytest.raises(HostError, match="2 disks fit") as caught:
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
        ({"only_internal": True, "min_size": "20 GB"}, "less than"),
    ],
)
def test_each_condition_tells_disks_apart(which: dict[str, Any], why: str) -> None:
    assert chosen(look(SSD, EMMC), **which) == "/dev/nvme0n1"
    with pytest.raises(HostError, match=why):
        chosen(look(EMMC), **which)


def test_a_largest_size() -> None:
    assert chosen(look(SSD, EMMC), max_size="20 GB") == "/dev/mmcblk0"
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
        ({"log-sec": 520}, "sectors of 520 bytes"),
    ],
)
def test_dangerous_disks_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    (good,) = look(SSD)
    assert good.reasons == ()
    (bad,) = look({**SSD, **changes}, erase=True)
    assert [one for one in bad.reasons if reason in one], bad.reasons
    with pytest.raises(HostError, match="is not written to") as caught:
        chosen((bad,), path=changes.get("path", SSD["path"]))
    assert reason in caught.value.message
    # The same functions as `edgeimg flash`, but for what is the installer's own.
    if "removable" not in reason:
        assert set(safety.refusals(bad.device, 4 * GB, fixed=True)) == set(bad.reasons)


def test_a_removable_disk_where_the_rules_allow_it() -> None:
    card = {**EMMC, "rm": True}
    assert chosen(look(card, removable=True), serial="E1", removable=True) == "/dev/mmcblk0"


def test_data_of_others_is_refused_unless_it_may_be_erased() -> None:
    (found,) = look(SSD, data="ntfs 'Windows'")
    assert found.reasons == ("it holds ntfs 'Windows', which edgeimg did not write",)
    assert look(SSD, data="ntfs 'Windows'", erase=True)[0].reasons == ()


GATEWAY = [
    part("/dev/x1", fstype="vfat", label="ESP"),
    part("/dev/x2", fstype="erofs", partlabel="gateway_0.1.0"),
    part("/dev/x3", fstype="DM_verity_hash", partlabel="gateway_0.1.0_verity"),
    part("/dev/x6", fstype="vfat", label="CONFIG"),
]


@pytest.mark.parametrize(
    ("head", "children", "says"),
    [
        (bytes(4096), [], ""),
        (b"\xff" * 4096, [], ""),
        (MARK.ljust(4096, b"\0"), [part("/dev/x1", fstype="ext4")], ""),
        (b"EFI PART" * 512, GATEWAY, ""),
        (b"EFI PART" * 512, GATEWAY[:3], "vfat 'ESP', erofs 'gateway_0.1.0', DM_verity_hash"),
        (bytes(4096), [part("/dev/x1", fstype="ext4", label="root")], "ext4 'root'"),
        (b"secret" * 512, [], "data without a known format"),
    ],
)
def test_what_is_known_of_the_data_on_a_disk(
    tmp_path: Path, head: bytes, children: list[dict[str, Any]], says: str
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(head)
    (device,) = devices.disks({"blockdevices": [entry(str(disk), children=children)]})
    found = safety.unknown_data(device)
    assert found.startswith(says)
    assert bool(found) == bool(says)


def test_a_disk_that_cannot_be_read_is_not_blank(tmp_path: Path) -> None:
    (device,) = devices.disks({"blockdevices": [entry(str(tmp_path / "none"))]})
    assert "cannot be read" in safety.unknown_data(device)


# --- machine and rows ----------------------------------------------------------------------------


def sysfs(root: Path, **files: str) -> Path:
    usual = {
        "class/dmi/id/sys_vendor": "Acme\n",
        "class/dmi/id/product_name": "Box 3\n",
        "class/dmi/id/product_serial": "X-77\n",
        "class/net/eth0/address": "52:54:00:AA:00:01\n",
        "class/net/eth0/device/uevent": "",
        "class/net/docker0/address": "02:42:00:00:00:01\n",
        "class/net/lo/address": "00:00:00:00:00:00\n",
    }
    for name, text in {**usual, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_what_a_machine_says_of_itself(tmp_path: Path) -> None:
    found = machine.read(sysfs(tmp_path))
    assert found == Machine(maker="Acme", model="Box 3", serial="X-77", macs=("52:54:00:aa:00:01",))
    assert found.title == "Acme Box 3, serial number X-77, MAC 52:54:00:aa:00:01"
    assert machine.read(tmp_path / "nothing") == Machine()


@pytest.mark.parametrize(
    "text",
    ["To be filled by O.E.M.", "Default string", "None", "0", "0000000", "Not Specified",
     "123456789",
     "System Serial Number", "N/A", " ", "xxxxxxx", "......"],
)  # fmt: skip
def test_what_makers_leave_in_the_place_of_a_serial_number(tmp_path: Path, text: str) -> None:
    board = sysfs(
        tmp_path,
        **{
            "class/dmi/id/product_serial": text,
            "firmware/devicetree/base/serial-number": "10000000abcd\0",
        },
    )
    assert machine.read(board).serial == "10000000abcd"


def fleet(folder: Path) -> Fleet:
    path = folder / "gateways.csv"
    path.write_text(
        "hostname,serial,mac,disk_serial,arch,network.lan.mac\n"
        "box-1,X-77,,,,\n"
        "box-2,,52:54:00:aa:00:02,,,\n"
        "box-3,,,S1,x86-64,\n"
        "box-4,,,,,52:54:00:AA:00:04\n"
    )
    return reading.load(path)


(DEVICE,) = devices.disks({"blockdevices": [{**SSD, "serial": "none of them"}]})
(S1,) = devices.disks({"blockdevices": [SSD]})


@pytest.mark.parametrize(
    ("box", "device", "name", "sign"),
    [
        (Machine(serial="X-77"), DEVICE, "box-1", "dmi-serial"),
        (Machine(macs=("52:54:00:aa:00:02",)), DEVICE, "box-2", "mac"),
        (Machine(macs=("52:54:00:aa:00:04",)), DEVICE, "box-4", "mac"),
        (Machine(), S1, "box-3", "disk-serial"),
    ],
)
def test_each_sign_finds_a_row(
    tmp_path: Path, box: Machine, device: devices.Device, name: str, sign: Any
) -> None:
    gateways = fleet(tmp_path)
    found = rows.only(gateways, SIGNS, box, device)
    assert (found.gateway.name, found.signs) == (name, (sign,))
    others = [one for one in SIGNS if one != sign]
    with pytest.raises(HostError, match=r"no row of .* is this machine, expected one"):
        rows.only(gateways, others, box, device)


def test_two_rows_stop_it(tmp_path: Path) -> None:
    box = Machine(serial="X-77", macs=("52:54:00:aa:00:02",))
    with pytest.raises(HostError, match=r"2 rows of .* are this machine") as caught:
        rows.only(fleet(tmp_path), SIGNS, box, DEVICE)
    assert "box-1: by dmi-serial" in caught.value.message
    assert "box-2: by mac" in caught.value.message
    assert rows.only(fleet(tmp_path), ["mac"], box, DEVICE).gateway.name == "box-2"


def test_a_machine_that_says_nothing_is_no_row_with_empty_cells(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no row"):
        rows.only(fleet(tmp_path), SIGNS, Machine(), devices.disks({"blockdevices": [EMMC]})[0])


def test_a_row_has_its_own_disk_and_architecture(tmp_path: Path) -> None:
    box = fleet(tmp_path).named(("box-3",)).gateways[0]
    rows.require_disk(box, S1, arch="x86-64")
    rows.require_disk(box, S1, arch="")
    with pytest.raises(HostError, match="box-3 has the disk S1"):
        rows.require_disk(box, DEVICE, arch="x86-64")
    with pytest.raises(HostError, match="box-3 is x86-64, and the image is arm64"):
        rows.require_disk(box, S1, arch="arm64")


def ran(**more: Any) -> Entry:
    usual = {"run": "1", "time": "2026-01-01T00:00:00+00:00", "result": "ok", "serial": "S1"}
    return Entry.model_validate({**usual, "digest": "d", "gateway": "g", "settings": "s", **more})


@pytest.mark.parametrize(
    ("entries", "is_installed"),
    [
        ([ran()], True),
        ([], False),
        ([ran(result="failed")], False),
        ([ran(digest="other")], False),
        ([ran(gateway="other")], False),
        ([ran(settings="other")], False),
        ([ran(serial="other")], False),
        ([ran(), ran(run="2", digest="newer")], False),
        ([ran(digest="older"), ran(run="2")], True),
    ],
)
def test_a_machine_that_is_installed_already(entries: list[Entry], is_installed: bool) -> None:
    read = Read(entries=tuple(entries))
    found = rows.installed(read, S1, digest="d", gateway="g", settings="s")
    assert (found is not None) == is_installed


def test_a_disk_without_a_serial_number_is_installed_again() -> None:
    (device,) = devices.disks({"blockdevices": [entry("/dev/sdx")]})
    assert rows.installed(Read(entries=(ran(serial=""),)), device, digest="d") is None


# --- images --------------------------------------------------------------------------------------


def test_the_image_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.raw.zst").touch()
    (tmp_path / "a.raw").touch()
    (tmp_path / "notes.txt").touch()
    assert source.one(source.images(tmp_path, X86_64)) == tmp_path / "a.raw.zst"
    (tmp_path / "b.raw").touch()
    with pytest.raises(ImageError, match=r"2 images are in .*, expected one"):
        source.one(source.images(tmp_path, X86_64))
    assert source.images(tmp_path / "b.raw", ARM64) == (tmp_path / "b.raw",)
    with pytest.raises(ImageError, match="there is no image"):
        source.images(tmp_path / "c.raw", X86_64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="there is no image for x86-64 in"):
        source.images(tmp_path / "empty", X86_64)


def test_images_of_another_architecture_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gw_1_arm64.raw.zst", "gw_1_x86-64.raw.zst"):
        (tmp_path / name).touch()
    monkeypatch.setattr(
        source, "arch_of", lambda path: path.name.removesuffix(".raw.zst").rpartition("_")[2]
    )
    assert source.one(source.images(tmp_path, ARM64)).name == "gw_1_arm64.raw.zst"
    with pytest.raises(ImageError, match="is an image for arm64, and this machine is x86-64"):
        source.images(tmp_path / "gw_1_arm64.raw.zst", X86_64)


# --- the menu and the countdown ------------------------------------------------------------------


def menu(*answers: str) -> tuple[Menu, list[str]]:
    said: list[str] = []
    left = list(answers)

    def ask(question: str) -> str:
        said.append(question)
        return left.pop(0)

    return Menu(ask, said.append), said


def test_a_disk_is_chosen_by_its_number_and_never_a_refused_one() -> None:
    asked, said = menu("2", "x", "0", "4", "1")
    found = asked.disk(look(SSD, {**EMMC, "path": "/dev/zzz", "size": GB}, STICK))
    assert found.device.path == "/dev/nvme0n1"
    assert [line for line in said if line.startswith("not that one: /dev/sda2 holds the system")]
    assert said.count("expected a number from 1 to 3") == 3
    with pytest.raises(FlashError, match="no disk was chosen"):
        menu(*["9"] * 5)[0].disk(look(SSD))
    with pytest.raises(HostError, match="no disk may be written to") as caught:
        menu()[0].disk(look(STICK))
    assert "it is removable" in caught.value.message


def test_the_likely_row_is_proposed(tmp_path: Path) -> None:
    gateways = fleet(tmp_path)
    likely = rows.find(gateways, SIGNS, Machine(serial="X-77"), S1)
    assert [one.gateway.name for one in likely] == ["box-1", "box-3"]
    asked, said = menu("", "2")
    found = asked.row(gateways, likely)  # two are likely: no default
    assert found is not None
    assert (found.gateway.name, found.signs) == ("box-2", ())
    assert "expected a number from 1 to 5" in said
    asked, said = menu("")
    found = asked.row(gateways, likely[:1])
    assert found is not None
    assert (found.gateway.name, found.signs) == ("box-1", ("dmi-serial",))
    assert "Gateway (1-5, Enter: 1)" in said
    assert menu("5")[0].row(gateways, likely[:1]) is None


def test_one_image_is_not_asked_for() -> None:
    assert menu()[0].image([Path("a")]) == Path("a")
    assert menu("2")[0].image([Path("a"), Path("b")]) == Path("b")


def test_the_name_of_the_disk_is_typed() -> None:
    plan = Plan(
        machine=Machine(model="Box"), disk=look(SSD)[0], image=Path("x/gw.raw"), size=4 * GB,
        row=None, after="reboot",
    )  # fmt: skip
    asked, said = menu("nvme0n1")
    asked.confirm(plan)
    text = "\n".join(said)
    assert "Disk:    /dev/nvme0n1: Acme SSD 64, S1, 64.0 GB" in text
    assert "All of it will be lost" in text
    assert "the machine restarts" in text
    for answer in ("", "y", "/dev/sda", "nvme0n"):
        with pytest.raises(FlashError, match="nothing was written"):
            menu(answer)[0].confirm(plan)


def pressing(at: int) -> tuple[Callable[[float], bool], list[float]]:
    waits: list[float] = []

    def pressed(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == at

    return pressed, waits


def test_the_countdown_may_be_stopped() -> None:
    said: list[str] = []
    pressed, waits = pressing(0)
    countdown.wait(33, said.append, pressed)
    assert waits == [1.0] * 33
    assert [int(re.findall(r"in (\d+) s", line)[0]) for line in said] == [
        33, 30, 20, *range(10, 0, -1),
    ]  # fmt: skip
    pressed, waits = pressing(3)
    with pytest.raises(FlashError, match="nothing was written: it was stopped"):
        countdown.wait(33, said.append, pressed)
    assert len(waits) == 3
    countdown.wait(0, said.append, pressing(1)[0])
