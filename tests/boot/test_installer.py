"""The installer's stick: it stops when it is told to, asks, installs by rules, and powers off."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.pack import disk as disks
from edgeimg.pack import fat
from edgeimg.tools import Toolbox

from tests.console import powered
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


def test_a_blank_disk_is_installed_and_starts(
    toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    image = built(PROJECT, X86_64, "-o", "out/test")
    rules, internal = tmp_path / "rules.toml", tmp_path / "internal"
    rules.write_text(RULES)
    stick = PROJECT / "out/test/stick.raw"  # beside the image that it is made from
    stick.unlink(missing_ok=True)
    edgeimg(
        PROJECT, "installer", "--arch", X86_64.name, "--image", image, "--rules", rules,
        "--output", stick,
    )  # fmt: skip
    with internal.open("wb") as file:
        file.truncate(4 << 30)
    beside = [
        *("-device", "qemu-xhci"),
        *("-drive", f"if=none,id=internal,format=raw,file={internal}"),
        *("-device", f"{NVME},drive=internal,bootindex=1"),
    ]
    work = tmp_path / "from-stick"
    work.mkdir()
    with powered(
        stick, work, toolbox=toolbox("qemu"), memory=MEMORY, disk=USB, more=beside
    ) as console:
        console.wait_for("writing in 30 s", 900)
        console.type("\n")
        console.wait_for("nothing was written: it was stopped", 60)
        console.wait_for(r"m  install by hand[^>]*> ", 60)
        console.forget()
        console.type("m\n")
        said = console.wait_for("Disk: ", 600)
        assert re.search(r"/dev/nvme0n1: .*NV-1.*\n\s+now: empty", said)
        assert re.search(r"/dev/sda: .*\n\s+now: .*\n.*mounted", said), said
        console.type("\x03")
        console.wait_for("ended with exit code 130", 60)
        assert not any(internal.read_bytes()[: 1 << 20])
        console.wait_for(r"m  install by hand[^>]*> ", 60)
        console.type("a\n")
        console.wait_for(r"installed: gateway_0\.1\.0_x86-64", 1200)
        console.wait_for_power_off(300)
    entries, log = written_back(work / "disk.qcow2", tmp_path, toolbox)
    assert [entry["result"] for entry in entries] == ["started", "ok"]
    assert entries[-1]["serial"] == "NV-1"
    assert "nothing was written: it was stopped" in log
    assert "installed: gateway_0.1.0_x86-64" in log
    work = tmp_path / "from-disk"
    work.mkdir()
    with powered(
        internal, work, toolbox=toolbox("qemu"), disk=f"{NVME},bootindex=0", network=True
    ) as console:
        console.wait_for_shell(600)
        assert "gateway 0.1.0, slot A" in console.run("edgeimg-status", 300)
        assert "/dev/nvme0n1" in console.run("mount | grep ' /var '")


def written_back(
    disk: Path, folder: Path, toolbox: Callable[[str], Toolbox]
) -> tuple[list[dict[str, str]], str]:
    """The ledger and the log on the stick."""
    raw = folder / "stick-after.raw"
    toolbox("qemu").run("qemu-img", "convert", "-O", "raw", str(disk), str(raw), timeout=300)
    pack = toolbox("pack")
    start = disks.read(raw, toolbox=pack)["config"].start
    files = {}
    for name in ("install.ledger.jsonl", "install.log"):
        files[name] = folder / name
        fat.extract(raw, f"installer/{name}", files[name], offset=start, toolbox=pack)
    lines = files["install.ledger.jsonl"].read_text().splitlines()
    return [json.loads(line) for line in lines], files["install.log"].read_text()
