"""The installer's stick in a guest: a key stops the countdown, the menu, installation by rules."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.pack import disk as disks
from edgeimg.pack import fat
from edgeimg.tools import Toolbox

from tests.console import Console, powered
from tests.gateway import PROJECT, built, edgeimg

RULES = """\
image = "images"
countdown = 30
after = "poweroff"
[disk]
only_internal = true
"""
MEMORY = 768
"""MiB of the machine."""
USB = "usb-storage,removable=on,bootindex=0"
NVME = "nvme,serial=NV-1"

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_INSTALLER") != "1",
        reason="asked for with EDGEIMG_TEST_INSTALLER=1: fifteen minutes",
    ),
]


Written = tuple[list[dict[str, str]], str]


@pytest.fixture
def machine(toolbox: Callable[[str], Toolbox], tmp_path: Path) -> Machine:
    image = built(PROJECT, X86_64, "-o", "out/test")
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    stick = PROJECT / "out/test/stick.raw"  # beside the image that it is made from
    stick.unlink(missing_ok=True)
    edgeimg(
        PROJECT, "installer", "--arch", X86_64.name, "--image", image, "--rules", rules,
        "--output", stick,
    )  # fmt: skip
    with (tmp_path / "internal").open("wb") as file:
        file.truncate(4 << 30)
    (tmp_path / "from-stick").mkdir()
    (tmp_path / "from-disk").mkdir()
    return Machine(folder=tmp_path, stick=stick, toolbox=toolbox)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine with a blank NVMe disk and a stick."""

    folder: Path
    stick: Path
    toolbox: Callable[[str], Toolbox]

    @property
    def internal(self) -> Path:
        return self.folder / "internal"

    def from_stick(self) -> contextlib.AbstractContextManager[Console]:
        beside = [
            *("-device", "qemu-xhci"),
            *("-drive", f"if=none,id=internal,format=raw,file={self.internal}"),
            *("-device", f"{NVME},drive=internal,bootindex=1"),
        ]
        return powered(
            self.stick, self.folder / "from-stick", toolbox=self.toolbox("qemu"), memory=MEMORY,
            disk=USB, more=beside,
        )  # fmt: skip

    def from_disk(self) -> contextlib.AbstractContextManager[Console]:
        return powered(
            self.internal, self.folder / "from-disk", toolbox=self.toolbox("qemu"),
            disk=f"{NVME},bootindex=0", network=True,
        )  # fmt: skip

    def written_back(self) -> Written:
        """The ledger and the log on the stick."""
        raw, pack = self.folder / "stick-after.raw", self.toolbox("pack")
        kept = self.folder / "from-stick/disk.qcow2"
        convert = ("qemu-img", "convert", "-O", "raw", str(kept), str(raw))
        self.toolbox("qemu").run(*convert, timeout=300)
        start = disks.read(raw, toolbox=pack)["config"].start
        found = []
        for name in ("install.ledger.jsonl", "install.log"):
            file = self.folder / name
            fat.extract(raw, f"installer/{name}", file, offset=start, toolbox=pack)
            found.append(file.read_text())
        return [json.loads(line) for line in found[0].splitlines()], found[1]


def test_a_blank_disk_is_installed_and_starts(machine: Machine) -> None:
    with machine.from_stick() as console:
        console.wait_for("writing in 30 s", 900)
        console.wait_for(r"installed: gateway_0\.1\.0_x86-64", 1200)
        console.wait_for_power_off(300)
    entries, log = machine.written_back()
    assert [entry["result"] for entry in entries] == ["started", "ok"]
    assert entries[-1]["serial"] == "NV-1"
    assert "installed: gateway_0.1.0_x86-64" in log
    with machine.from_disk() as console:
        console.wait_for_shell(600)
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
