"""Boards without UEFI: the real image from U-Boot to a pod, and from a board's ROM to its root.

Minutes each, and they lock the boards' packages, so they are asked for: EDGEIMG_TEST_BOARDS=1.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests.console import switched
from tests.gateway import PROJECT, built, edgeimg, project

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_BOARDS") != "1", reason="asked for with EDGEIMG_TEST_BOARDS=1"
    ),
]


@pytest.mark.parametrize(
    ("board", "arch"),
    [
        ("qemu-virt-uboot", "arm64"),
        ("qemu-virt-uboot-arm", "arm"),
        ("allwinner-h3", "arm"),
    ],
)
def test_a_board_starts(board: str, arch: str, tmp_path: Path) -> None:
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, tmp_path / name, symlinks=True)
    chosen = ("--board", board)
    # Of the three indexes, only this one does not always match its signature.
    unsigned = ("--accept-unsigned-index", "arm") if arch == "arm" else ()
    edgeimg(tmp_path, "lock", *chosen, *unsigned)
    edgeimg(tmp_path, "build", *chosen, "--k3s", "standin")
    edgeimg(tmp_path, "smoke", *chosen, "--cpus", "1")
    name = f"gateway_0.1.0_{arch}_{board}"
    manifest = json.loads((tmp_path / f"out/{name}/{name}.manifest.json").read_text())
    assert manifest["disk"]["head"]["board"] == board
    console = (tmp_path / f"out/{name}/smoke/console.log").read_text(errors="replace")
    assert "U-Boot 20" in console
    assert "UEFI Interactive Shell" not in console


def test_watchdog_restarts_a_gateway_whose_kernel_has_stopped(
    toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    project(tmp_path)
    raw = raw_image(built(tmp_path, X86_64), cache)
    work = tmp_path / "guest"
    work.mkdir()
    watchdog = ("-device", "i6300esb")
    with switched(raw, work, toolbox=toolbox("qemu"), more=watchdog) as turn_on:
        console = turn_on()
        assert int(console.run("cat /sys/class/watchdog/watchdog0/timeout")) <= 60
        before = console.run("cat /proc/sys/kernel/random/boot_id")
        console.run("echo 0 > /proc/sys/kernel/panic")
        console.type("echo c > /proc/sysrq-trigger\n")
        console.wait_for("Kernel panic")
        console.forget()
        console.wait_for_shell(300)
        assert console.run("cat /proc/sys/kernel/random/boot_id") != before
