"""How the initrd counts starts and repairs names, in a directory in place of the boot partition."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from edgeimg.pack import initrd

from tests.conftest import PROJECT

FUNCTIONS = initrd.SCRIPT.read_text().split("\nmount -t devtmpfs", 1)[0]
BLESS = PROJECT / "overlays/base/usr/lib/edgeimg/bless"
UKI = b"the kernel image"


def entries(boot: Path, *names: str) -> Path:
    place = boot / "EFI/Linux"
    place.mkdir(parents=True)
    for name in names:
        (place / f"gateway_{name}").write_bytes(UKI)
    return place


def names(boot: Path) -> list[str]:
    return sorted(path.name.removeprefix("gateway_") for path in (boot / "EFI/Linux").iterdir())


def initrd_counts(
    boot: Path, cmdline: str = "edgeimg.count=initrd", *, cp: str = "command cp"
) -> list[str]:
    """Run `count_start` of version 1.0-rc1; the boot entries after it."""
    block, disk = boot / "class/vda2", boot / "disk"
    for directory, label in ((block, "gateway_1.0-rc1"), (disk / "vda1", "esp")):
        directory.mkdir(parents=True)
        (directory / "uevent").write_text(f"DEVNAME={directory.name}\nPARTNAME={label}\n")
    script = FUNCTIONS.replace("/sys/class/block", str(block.parent)).replace(
        "/run/twins", str(boot / "twins")
    )
    script += f"""
    cmdline="quiet {cmdline}"
    BOOT={boot} COUNTED={boot / "counted"}
    say() {{ echo "$*"; }}
    mount() {{ :; }}
    umount() {{ :; }}
    modprobe() {{ :; }}
    cp() {{ {cp} "$@"; }}
    rmdir() {{ :; }}
    count_start vda2 {disk} || :
    """
    done = subprocess.run(
        ["sh", "-u", "-c", script], env={"PATH": os.environ["PATH"]}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    return names(boot)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1.0-rc1+3.efi", "1.0-rc1+2-1.efi"),
        ("1.0-rc1+2-1.efi", "1.0-rc1+1-2.efi"),
        ("1.0-rc1+1-2.efi", "1.0-rc1+0-3.efi"),
        ("1.0-rc1+0-3.efi", "1.0-rc1+0-3.efi"),
        ("1.0-rc1.efi", "1.0-rc1.efi"),
    ],
)
def test_initrd_counts(before: str, after: str, tmp_path: Path) -> None:
    entries(tmp_path, before, "1.0.efi", "1.0+3.efi", "1.0-rc10+3.efi")
    others = ["1.0+3.efi", "1.0-rc10+3.efi", "1.0.efi"]
    assert initrd_counts(tmp_path) == sorted([after, *others])
    assert (tmp_path / "counted").exists() == ("+" in before)


def test_boot_loader_that_counts_is_left_alone(tmp_path: Path) -> None:
    entries(tmp_path, "1.0-rc1+2-1.efi")
    assert initrd_counts(tmp_path, "quiet") == ["1.0-rc1+2-1.efi"]
    assert not (tmp_path / "counted").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["1.0-rc1+3.efi", "1.0-rc1+2-1.efi"], "1.0-rc1+2-100001.efi"),
        (["1.0-rc1+2-1.efi", "1.0-rc1+1-2.efi"], "1.0-rc1+1-100002.efi"),
        (["1.0-rc1+1-2.efi", "1.0-rc1+0-3.efi"], "1.0-rc1+0-100003.efi"),
        # Kept already, when the power was cut.
        (["1.0-rc1+1-2.efi", "1.0-rc1.efi"], "1.0-rc1+1-100002.efi"),
        # A second time.
        (["1.0-rc1+2-100001.efi", "1.0-rc1+1-100002.efi"], "1.0-rc1+1-200002.efi"),
        # Within a repair: while the file was copied, and while the names were deleted.
        (["1.0-rc1+3.efi", "1.0-rc1+2-1.efi", "1.0-rc1+2-100001.efi"], "1.0-rc1+2-100001.efi"),
        (
            ["1.0-rc1+3.efi", "1.0-rc1+2-1.efi", "1.0-rc1+2-100001.efi", "1.0-rc1.repair"],
            "1.0-rc1+2-100001.efi",
        ),
        (["1.0-rc1+3.efi", "1.0-rc1+2-100001.efi", "1.0-rc1.repair"], "1.0-rc1+2-100001.efi"),
        (["1.0-rc1.efi", "1.0-rc1+1-100002.efi", "1.0-rc1.repair"], "1.0-rc1+1-100002.efi"),
        (["1.0-rc1+2-100001.efi", "1.0-rc1.repair"], "1.0-rc1+2-100001.efi"),
        (["1.0-rc1+2-100001.efi", "1.0-rc1+3.efi.twin", "1.0-rc1.repair"], "1.0-rc1+2-100001.efi"),
        # A copy that was kept.
        (["1.0-rc1.efi", "1.0-rc1+1-100002.efi"], "1.0-rc1+1-200002.efi"),
        (
            ["1.0-rc1.efi", "1.0-rc1+1-100002.efi", "1.0-rc1+1-200002.efi"],
            "1.0-rc1+1-200002.efi",
        ),
        # The mark of a repair that has ended.
        (["1.0-rc1.efi", "1.0-rc1.repair"], "1.0-rc1.efi"),
        (["1.0-rc1+3.efi", "1.0-rc1.repair"], "1.0-rc1+3.efi"),
        (["1.0-rc1+2-1.efi", "1.0-rc1+1-2.efi", "1.0-rc1.repair"], "1.0-rc1+1-100002.efi"),
    ],
)
@pytest.mark.parametrize("cmdline", ["quiet", "edgeimg.count=initrd"])
def test_one_name_of_two_stays(before: list[str], after: str, cmdline: str, tmp_path: Path) -> None:
    place = entries(tmp_path, *before)
    for entry in before:
        if "1.0-rc1.repair" not in before and len(before) == 3 and entry == after:
            (place / f"gateway_{entry}").write_bytes(b"the ker")
    if "1.0-rc1.repair" in before and any("-10000" in entry for entry in before):
        for entry in before:
            if "-10000" not in entry:
                (place / f"gateway_{entry}").write_bytes(b"not there any more")
    assert initrd_counts(tmp_path, cmdline) == [after]
    assert (place / f"gateway_{after}").read_bytes() == UKI
    assert (tmp_path / "counted").exists()


def test_without_room_the_other_name_is_hidden(tmp_path: Path) -> None:
    entries(tmp_path, "1.0-rc1+3.efi", "1.0-rc1+2-1.efi")
    left = initrd_counts(tmp_path, "quiet", cp="false")
    assert left == ["1.0-rc1+2-1.efi", "1.0-rc1+3.efi.twin"]


def test_other_versions_are_left_alone(tmp_path: Path) -> None:
    before = ["1.0-rc1.efi", "1.0-rc1.1+3.efi", "1.0-rc1.1+2-1.efi", "1.0-rc1.1.repair"]
    entries(tmp_path, *before)
    assert initrd_counts(tmp_path) == sorted(before)


def bless(boot: Path, verb: str) -> str:
    release = boot / "os-release"
    release.write_text("IMAGE_ID=gateway\nIMAGE_VERSION=1.0-rc1\n")
    env = {
        "PATH": os.environ["PATH"], "EDGEIMG_RUN": str(boot), "EDGEIMG_BOOT": str(boot),
        "EDGEIMG_OS_RELEASE": str(release), "EDGEIMG_SYSTEMD_BLESS": "echo",
    }  # fmt: skip
    return subprocess.run(
        [BLESS, verb], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("entry", "status", "bad"),
    [
        ("1.0-rc1+2-1.efi", "indeterminate", "1.0-rc1+0-1.efi"),
        ("1.0-rc1+3.efi", "indeterminate", "1.0-rc1+0-0.efi"),
        ("1.0-rc1+0-3.efi", "bad", "1.0-rc1+0-3.efi"),
        ("1.0-rc1.efi", "good", "1.0-rc1+0-0.efi"),
    ],
)
def test_version_is_kept_or_given_up(entry: str, status: str, bad: str, tmp_path: Path) -> None:
    place = entries(tmp_path, entry, "0.9+2-1.efi")
    (tmp_path / "boot-count").touch()
    assert bless(tmp_path, "status") == status
    assert bless(tmp_path, "good") == ""
    assert names(tmp_path) == ["0.9+2-1.efi", "1.0-rc1.efi"]
    (place / "gateway_1.0-rc1.efi").rename(place / f"gateway_{entry}")
    bless(tmp_path, "bad")
    assert names(tmp_path) == ["0.9+2-1.efi", bad]


def test_systemd_blesses_what_the_boot_loader_has_counted(tmp_path: Path) -> None:
    entries(tmp_path, "1.0-rc1+2-1.efi")
    for verb in ("status", "good", "bad"):
        assert bless(tmp_path, verb) == verb
    assert names(tmp_path) == ["1.0-rc1+2-1.efi"]
