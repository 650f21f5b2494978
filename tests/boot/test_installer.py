"""The installer's stick in a guest: a key stops the countdown, the menu, installation by rules, the
start of the installed disk beside it, and a machine with disks of all kinds.

EDGEIMG_TEST_INSTALLER_ARCH=arm64 does it with ARM64, all but the machine with disks of all kinds.
EDGEIMG_TEST_INSTALLER_KILLS=20 cuts the power so often during an installation.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import X86_64, find_arch
from edgeimg.image import raw
from edgeimg.pack import disk as disks
from edgeimg.pack import fat
from edgeimg.tools import Toolbox

from tests.console import Console, powered
from tests.gateway import PROJECT, built, edgeimg

RULES = """\
image = "images"
countdown = 30
after = "reboot"
[disk]
only_internal = true
"""
ARCH = find_arch(os.environ.get("EDGEIMG_TEST_INSTALLER_ARCH", "x86-64"))
IMAGE = f"gateway_0.1.0_{ARCH.name}"
INSTALLED = rf"installed: {re.escape(IMAGE)}"
KILLS = int(os.environ.get("EDGEIMG_TEST_INSTALLER_KILLS", "0"))
SEED = os.environ.get("EDGEIMG_TEST_SEED", "edgeimg")
MEMORY = 768
"""MiB of the machine."""
USB = "usb-storage,removable=on,bootindex=0"
NVME = "nvme,serial=NV-1"
SATA = "ide-hd,serial=SATA-1,model=Acme"
WINDOWS = """\
label: gpt
size=100MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system partition"
size=16MiB, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name="Microsoft reserved partition"
type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="Basic data partition"
"""

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_INSTALLER") != "1",
        reason="asked for with EDGEIMG_TEST_INSTALLER=1: twenty minutes",
    ),
]


Written = tuple[list[dict[str, str]], str]


@pytest.fixture
def machine(toolbox: Callable[[str], Toolbox], tmp_path: Path) -> Machine:
    image = built(PROJECT, ARCH, "-o", "out/test")
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    stick = PROJECT / "out/test/stick.raw"  # beside the image that it is made from
    stick.unlink(missing_ok=True)
    edgeimg(
        PROJECT, "installer", "--arch", ARCH.name, "--image", image, "--rules", rules,
        "--output", stick,
    )  # fmt: skip
    with (tmp_path / "internal").open("wb") as file:
        file.truncate(4 << 30)
    (tmp_path / "from-stick").mkdir()
    (tmp_path / "from-disk").mkdir()
    return Machine(folder=tmp_path, image=image, stick=stick, toolbox=toolbox)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine with a blank NVMe disk and a stick."""

    folder: Path
    image: Path
    stick: Path
    toolbox: Callable[[str], Toolbox]

    @property
    def internal(self) -> Path:
        return self.folder / "internal"

    def drive(self, name: str, size: int, device: str) -> list[str]:
        """QEMU's options for a disk; a file that is there is lengthened at most."""
        path = self.folder / name
        with path.open("ab") as file:
            file.truncate(size)
        drive = f"if=none,id={name},format=raw,file={path}"
        return ["-drive", drive, "-device", f"{device},drive={name}"]

    def from_stick(self, *more: str) -> contextlib.AbstractContextManager[Console]:
        beside = [
            *("-device", "qemu-xhci"),
            *self.drive("internal", self.internal.stat().st_size, f"{NVME},bootindex=1"),
            *more,
        ]
        return powered(
            self.stick, self.folder / "from-stick", toolbox=self.toolbox("qemu"), arch=ARCH,
            memory=MEMORY, disk=USB, more=beside,
        )  # fmt: skip

    def from_disk(
        self, name: str = "internal", device: str = NVME
    ) -> contextlib.AbstractContextManager[Console]:
        return powered(
            self.folder / name, self.folder / "from-disk", toolbox=self.toolbox("qemu"),
            arch=ARCH, disk=f"{device},bootindex=0", network=True,
        )  # fmt: skip

    def written_back(self) -> Written:
        """The ledger and the log on the stick."""
        after, pack = self.folder / "stick-after.raw", self.toolbox("pack")
        kept = self.folder / "from-stick/disk.qcow2"
        convert = ("qemu-img", "convert", "-O", "raw", str(kept), str(after))
        self.toolbox("qemu").run(*convert, timeout=300)
        start = disks.read(after, toolbox=pack)["config"].start
        found = []
        for name in ("install.ledger.jsonl", "install.log"):
            file = self.folder / name
            fat.extract(after, f"installer/{name}", file, offset=start, toolbox=pack)
            found.append(file.read_text())
        return [json.loads(line) for line in found[0].splitlines()], found[1]


def test_a_blank_disk_is_installed_and_starts(machine: Machine) -> None:
    with machine.from_stick() as console:
        console.wait_for("writing in 30 s", 900)
        console.wait_for(INSTALLED, 1200)
        console.wait_for("BootNext is set: the next boot is from this disk", 60)
        on_its_disk(console)
        # The firmware lists the stick first again.
        console.forget()
        console.type("reboot\n")
        console.wait_for("has it already, says", 900)
        on_its_disk(console)
    entries, log = machine.written_back()
    assert [entry["result"] for entry in entries] == ["started", "ok"]
    assert entries[-1]["serial"] == "NV-1"
    assert f"installed: {IMAGE}" in log


def on_its_disk(console: Console) -> None:
    """The gateway has started, with the stick still in the machine."""
    console.wait_for_shell(900)
    assert "gateway 0.1.0, slot A" in console.run("edgeimg-status", 300)
    assert "/dev/nvme0n1" in console.run("mount | grep ' /var '")


def test_it_is_stopped_and_asks(machine: Machine) -> None:
    with machine.from_stick() as console:
        console.wait_for("writing in 30 s", 900)
        console.type("\n")
        console.wait_for("nothing was written: it was stopped", 60)
        console.wait_for(r"m  install by hand[^>]*> ", 60)
        console.forget()
        console.type("m\n")
        said = console.wait_for(r"Disk \(1-2\): ", 600)
        assert re.search(r"/dev/nvme0n1: .*NV-1.*\n\s+now: empty", said)
        assert re.search(r"/dev/sda: .*\n\s+now: .*\n.*mounted", said), said
        console.type("\x03")
        console.wait_for("ended with exit code 130", 60)
        with machine.internal.open("rb") as file:
            assert not any(file.read(1 << 20))
        console.wait_for(r"exit code 130[^>]*> ", 60)
        console.type("p\n")
        console.wait_for_power_off(300)


@pytest.mark.skipif(ARCH is not X86_64, reason="QEMU's other machines have no SATA")
def test_a_machine_with_many_disks(machine: Machine) -> None:
    os.truncate(machine.internal, 256 << 20)
    raw.unpack(machine.image, machine.folder / "previous")
    (machine.folder / "windows").touch()
    os.truncate(machine.folder / "windows", 4 << 30)
    machine.toolbox("pack").run(
        "sfdisk", str(machine.folder / "windows"), input=WINDOWS.encode(), timeout=60
    )
    others = [
        *("-device", "ahci,id=ahci"),
        *machine.drive("windows", 4 << 30, f"{SATA},bus=ahci.0,bootindex=2"),
        *machine.drive("previous", 4 << 30, "virtio-blk-pci,serial=VIRTIO-1,bootindex=3"),
        *("-device", "sdhci-pci"),
        *machine.drive("card", 4 << 30, "sd-card"),
        *machine.drive("other", 4 << 30, "usb-storage,removable=on,serial=USB-2"),
    ]
    with machine.from_stick(*others) as console:
        console.wait_for("3 internal disks, expected one: nothing was written", 900)
        console.wait_for(r"m  install by hand[^>]*> ", 60)
        console.forget()
        console.type("m\n")
        said = console.wait_for(r"Disk \(1-6\): ", 600)
        shown = dict(re.findall(r"  (\d)  (/dev/\w+: .*(?:\n {7}.*)+)", said))
        assert len(shown) == 6, said

        def number(*words: str) -> str:
            (found,) = (at for at, text in shown.items() if all(word in text for word in words))
            return found

        number("NV-1", "now: empty", "no: it holds 268.4 MB, the image needs")
        number("VIRTIO-1", "now: ", "vfat 'CONFIG'")
        number("/dev/mmcblk0", "now: empty", "no: it is removable")
        number("USB-2", "now: empty", "no: it is removable")
        console.type(number("/dev/sd", "mounted on /run/edgeimg/stick") + "\n")
        console.wait_for("not that one: ", 60)
        target = number("Acme, SATA-1", "'Basic data partition'")
        name = shown[target].partition(":")[0].removeprefix("/dev/")
        console.type(f"{target}\n")
        said = console.wait_for(rf"type the name of the disk \({name}\): ", 300)
        assert "All of it will be lost" in said
        console.type(f"{name}\n")
        console.wait_for(INSTALLED, 1200)
        console.wait_for(r"exit code 0[^>]*> ", 60)
        console.type("p\n")
        console.wait_for_power_off(300)
    entries, _ = machine.written_back()
    assert [(entry["serial"], entry["result"]) for entry in entries] == [
        ("SATA-1", "started"), ("SATA-1", "ok"),
    ]  # fmt: skip
    with machine.from_disk("windows", SATA) as console:
        console.wait_for_shell(600)
        assert "gateway 0.1.0, slot A" in console.run("edgeimg-status", 300)


@pytest.mark.skipif(not KILLS, reason="asked for with EDGEIMG_TEST_INSTALLER_KILLS=20")
def test_power_cuts(machine: Machine) -> None:
    """At any moment: before the countdown ends, while it writes and reads, at the ledger."""
    chance = random.Random(SEED)
    written = 60.0
    """Seconds from the last line of the countdown to the end, as long as none has ended."""
    done = 0
    installed = False
    for number in range(KILLS):
        if installed:  # the next machine
            os.truncate(machine.internal, 0)
            os.truncate(machine.internal, 4 << 30)
        with machine.from_stick() as console:
            said = console.wait_for("writing in 30 s|has it already, says", 900)
            if installed := "has it already" in said:
                done += 1
                continue
            began = time.monotonic()
            moment = 30 + chance.uniform(-5, written)
            while time.monotonic() < began + moment:
                if re.search(INSTALLED, console.said()):
                    written = time.monotonic() - began - 30
                    break
                time.sleep(0.2)
            print(f"power cut {number}: {time.monotonic() - began - 30:.1f} s after the countdown")
    with machine.from_stick() as console:
        console.wait_for(f"{INSTALLED}|has it already, says", 1200)
        on_its_disk(console)
    entries, _ = machine.written_back()
    assert [one["result"] for one in entries].count("ok") == done + 1
