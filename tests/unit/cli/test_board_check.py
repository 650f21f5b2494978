"""edgeimg board check: every mistake of a board's file is one line, and all are told at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.build.test_kernels import FILES, locked, project

PROJECT = Path(__file__).parents[3]
GOOD = """\
[board]
name = "mine"
arch = "arm64"
files = "boards/mine"
config = "u-boot.config"
consoles = ["ttymxc1,115200"]
watchdog = 60

[board.raw]
"32 KiB" = "imx-boot.bin"

[board.esp]
"dtb/" = "usr/lib/linux-image-*/board.dtb"
"""
BAD = """\
[image]
esp = "34 MiB"

[board]
name = "mine"
arch = "arm64"
files = "boards/mine"
config = "old.config"
watchdog = 60
cmdline = ["systemd.watchdog_sec=2min"]

[board.raw]
"8 KiB" = "imx-boot.bin"
"50001" = "note"
"6 MiB" = "note"
"3 MiB" = "imx-bot.bin"

[board.esp]
"dtb/" = "usr/lib/linux-image-*/boad.dtb"
"Large.bin" = "large.bin"
"EFI/BOOT/BOOTAA64.EFI" = "note"
"loader" = "note"

[board.text]
"large.BIN" = "x"
"""
OLD = """\
CONFIG_ARM=y
CONFIG_WATCHDOG_TIMEOUT_MSECS=30000
CONFIG_ENV_IS_IN_MMC=y
CONFIG_ENV_OFFSET=0x80000
CONFIG_ENV_SIZE=0x1000
"""
MISTAKES = (
    r'raw\."3145728": neither packages nor files .* imx-bot\.bin; did you mean imx-boot\.bin\?',
    r'esp\."dtb/": neither packages nor files .* hold usr/lib/linux-image-\*/boad\.dtb; did you .*',
    r"the GPT's 128 entries .* and raw file imx-boot\.bin .* overlap",
    r"raw file imx-boot\.bin .* and raw file note .* overlap",
    r"the first partition .* and raw file note .* overlap",
    r'raw\."50001": expected a multiple of 512 bytes',
    r"U-Boot's environment .* and raw file imx-boot\.bin .* overlap",
    r'esp\."EFI/BOOT/BOOTAA64\.EFI": edgeimg has a file of its own there',
    r'esp\."large\.BIN": two files have this place',
    r'esp\."loader": other files have this place as their directory',
    r"esp: its files have \d+ bytes, more than the EFI system partition's 35651584 .*Large\.bin",
    r"config: the boot loader is built without CONFIG_FAT_RENAME: .*",
    r"arch: the board is arm64, its boot loader is built for arm",
    r"watchdog: 60 s is more than the boot loader's 30 s",
    r"watchdog: systemd\.watchdog_sec=2min is more than the 60 s of the board",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a kernel of its own, and the files of a board."""
    files = {
        "imx-boot.bin": b"B" * 1_000_000,
        "large.bin": bytes(35 << 20),
        "note": b"x",
        "u-boot.config": b"CONFIG_ARM64=y\nCONFIG_FAT_RENAME=y\n",
        "old.config": OLD.encode(),
    }
    (tmp_path / "boards/mine").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "boards/mine" / name).write_bytes(data)
    locked(project(tmp_path, FILES))
    return tmp_path


def check(root: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What the command line says of a board's file."""
    (root / "boards/mine.toml").write_text(text)
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "board", "check"]
    return subprocess.run(
        [*program, "--board", "boards/mine.toml", "-r", "recipes/own.toml", *options],
        cwd=root, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "EDGEIMG_CACHE": str(root / "cache"), "COLUMNS": "300"},
    )  # fmt: skip


def test_a_board_without_mistakes(root: Path) -> None:
    done = check(root, GOOD, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == [
        {"place": "32768 bytes", "size": 1_000_000},
        {"place": "dtb/board.dtb", "size": 4},
    ]


def test_all_mistakes_are_told_at_once(root: Path) -> None:
    done = check(root, BAD)
    assert done.returncode == 3
    head, *lines = [line for line in done.stderr.splitlines() if not line.startswith("✗")]
    assert head == f"error: the board mine has {len(MISTAKES)} errors"
    for mistake in MISTAKES:
        assert len([line for line in lines if re.fullmatch(mistake, line.strip())]) == 1, mistake
    assert len(lines) == len(MISTAKES)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("watchdog = 60", "watchdig = 60", r"mine\.toml:7: board\.watchdig: unknown key; did you"),
        ('arch = "arm64"', 'arch = "mips"', r"mine\.toml:3: board\.arch: "),
        ('arch = "arm64"', 'arch = "arm"', r"the board mine is arm; the image is for"),
        ('"32 KiB"', '"32 kilo"', r"mine\.toml:10: board\.raw\."),
        ('"boards/mine"', '"boards/none"', r"board\.files: there is no directory .*boards/none"),
    ],
)
def test_keys_and_values_have_their_line(root: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) == 1
    done = check(root, GOOD.replace(old, new))
    assert done.returncode == 3, done.stderr
    assert len(re.findall(says, done.stderr)) == 1, done.stderr
    assert "Traceback" not in done.stderr
