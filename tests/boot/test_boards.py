"""Boards without UEFI: the real image from U-Boot to a pod, and from a board's ROM to its root.

Minutes each, and they lock the boards' packages, so they are asked for: EDGEIMG_TEST_BOARDS=1.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.gateway import PROJECT, edgeimg

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_BOARDS") != "1", reason="asked for with EDGEIMG_TEST_BOARDS=1"
    ),
]


@pytest.mark.parametrize(("board", "arch"), [("qemu-virt-uboot", "arm64"), ("allwinner-h3", "arm")])
def test_a_board_starts(board: str, arch: str, tmp_path: Path) -> None:
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, tmp_path / name, symlinks=True)
    chosen = ("--board", board)
    edgeimg(tmp_path, "lock", *chosen)
    edgeimg(tmp_path, "build", *chosen, "--k3s", "standin")
    edgeimg(tmp_path, "smoke", *chosen, "--cpus", "1")
    name = f"gateway_0.1.0_{arch}_{board}"
    manifest = json.loads((tmp_path / f"out/{name}/{name}.manifest.json").read_text())
    assert manifest["disk"]["head"]["board"] == board
    console = (tmp_path / f"out/{name}/smoke/console.log").read_text(errors="replace")
    assert "U-Boot 20" in console
    assert "UEFI Interactive Shell" not in console
