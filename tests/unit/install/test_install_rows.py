"""Which gateway of a fleet a machine is, and what the ledger says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeimg.errors import HostError
from edgeimg.flash import devices
from edgeimg.fleet import reading
from edgeimg.fleet.ledger import Entry, Read
from edgeimg.fleet.reading import Fleet
from edgeimg.install import machine, rows
from edgeimg.install.machine import Machine
from edgeimg.install.rules import SIGNS

from tests.unit.install.test_install_disks import EMMC, SSD, entry


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
    ["To be filled by O.E.M.", "O.E.M.", "Default", "Default string", "Not Available", "Unknown",
     "Base Board Serial Number", "1234567890", "0123456789", "123456789", "FFFFFFFF", "None", "0",
     "0000000", "Not Specified", "System Serial Number", "N/A", " ", "xxxxxxx", "......"],
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
    (board / "class/dmi/id/product_serial").write_text(f"A{text}")
    assert machine.read(board).serial == f"A{text}".strip()


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


(DEVICE,) = devices.disks({"blockdevices": [{**SSD, "serial": "S99"}]})
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


def test_a_row_that_says_something_else_is_refused(tmp_path: Path) -> None:
    gateways = {one.name: one for one in fleet(tmp_path).gateways}
    box = gateways["box-3"]
    rows.require_match(box, Machine(serial="X-1", macs=("52:54:00:aa:00:09",)), S1, arch="x86-64")
    rows.require_match(box, Machine(), S1, arch="")
    with pytest.raises(HostError, match="disk_serial is S1, and that of /dev/nvme0n1 is S99"):
        rows.require_match(box, Machine(), DEVICE, arch="x86-64")
    with pytest.raises(HostError, match="arch is x86-64, and the image is for arm64"):
        rows.require_match(box, Machine(), S1, arch="arm64")
    rows.require_match(gateways["box-1"], Machine(), S1, arch="")
    with pytest.raises(HostError, match="serial is X-77, and that of the machine is X-1"):
        rows.require_match(gateways["box-1"], Machine(serial="X-1"), S1, arch="")
    label = Machine(macs=("52:54:00:aa:00:09", "52:54:00:aa:00:02"))
    rows.require_match(gateways["box-2"], label, S1, arch="")
    with pytest.raises(HostError, match="mac is 52:54:00:aa:00:02, and the machine has"):
        rows.require_match(gateways["box-2"], Machine(macs=label.macs[:1]), S1, arch="")


def ran(**more: Any) -> Entry:
    usual = {"run": "1", "time": "2026-01-01T00:00:00+00:00", "result": "ok", "serial": "S1"}
    return Entry.model_validate({**usual, "digest": "d", "gateway": "g", "settings": "s", **more})


@pytest.mark.parametrize(
    ("entries", "result"),
    [
        ([ran()], "ok"),
        ([], None),
        ([ran(result="failed")], "failed"),
        ([ran(result="started")], "started"),
        ([ran(digest="other")], None),
        ([ran(gateway="other")], None),
        ([ran(settings="other")], None),
        ([ran(serial="other")], None),
        ([ran(), ran(run="2", digest="newer")], None),
        ([ran(digest="older"), ran(run="2")], "ok"),
    ],
)
def test_what_the_ledger_says_of_a_disk(entries: list[Entry], result: str | None) -> None:
    read = Read(entries=tuple(entries))
    found = rows.last_run(read, S1, digest="d", gateway="g", settings="s")
    assert (found.result if found else None) == result


def test_a_disk_without_a_serial_number_is_no_disk_of_the_ledger() -> None:
    (device,) = devices.disks({"blockdevices": [entry("/dev/sdx")]})
    read = Read(entries=(ran(serial="", gateway="", settings=""),))
    assert rows.last_run(read, device, digest="d") is None


def test_a_gateway_is_not_installed_on_a_second_disk(tmp_path: Path) -> None:
    box = fleet(tmp_path).gateways[0]
    one, other = ran(gateway="box-1"), ran(gateway="box-1", run="2", serial="S2")
    rows.require_unused(Read(entries=(one,)), box, S1)
    rows.require_unused(Read(entries=(other, ran(gateway="box-1", run="3"))), box, S1)
    rows.require_unused(
        Read(entries=(ran(gateway="box-1", serial="S2", result="failed"),)), box, S1
    )
    rows.require_unused(Read(entries=(ran(gateway="box-2", serial="S2"),)), box, S1)
    for read, device in ((Read(entries=(one, other)), S1), (Read(entries=(one,)), DEVICE)):
        with pytest.raises(HostError, match="box-1 was installed on the disk S"):
            rows.require_unused(read, box, device)
    (blind,) = devices.disks({"blockdevices": [entry("/dev/vda")]})
    with pytest.raises(HostError, match="box-1 was installed on /dev/vda, by me@here"):
        blank = ran(gateway="box-1", serial="", device="/dev/vda", by="me@here")
        rows.require_unused(Read(entries=(blank,)), box, blind)
