"""Flashing for real: loop devices, disks that fail, and a hand that pulls the plug at any moment.

Faults are nbdkit's filters, seen as files through nbdfuse. The loop devices have guards on both
sides: a byte outside of the target would show.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.flash import blockmap
from builder.flash.blockmap import BlockMap
from builder.flash.write import MARK
from tests.unit.test_flash import MIB, image

pytestmark = pytest.mark.integration
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
ROUNDS = int(os.environ.get("EDGEIMG_TEST_FLASHES", "12"))
GUARD = MIB
DISK = 32 * MIB
needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root, loop devices"
)
needs_nbdkit = pytest.mark.skipif(
    not all(map(shutil.which, ("nbdkit", "nbdfuse", "fusermount3")))
    or not Path("/dev/fuse").exists(),
    reason="needs nbdkit and nbdfuse: apt install nbdkit libnbd-bin fuse3",
)  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, BlockMap]:
    packed, described = image(tmp_path)
    return packed, blockmap.read(described)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGEIMG, *map(str, arguments)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def holds(disk: Path, raw: Path, blocks: BlockMap) -> bool:
    """By cmp(1), range by range."""
    return all(
        subprocess.run(
            ["cmp", "-s", "-n", str(e.size), "-i", str(e.start), disk, raw], check=False
        ).returncode == 0
        for e in blocks.extents
    )  # fmt: skip


@contextlib.contextmanager
def loop(backing: Path) -> Iterator[Path]:
    """A loop device between two guards."""
    guard = b"\x5a" * GUARD
    backing.write_bytes(guard + os.urandom(1) * DISK + guard)
    device = subprocess.run(
        ["losetup", "-f", "--show", "-o", str(GUARD), "--sizelimit", str(DISK), backing],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
        held = backing.read_bytes()
        assert held[:GUARD] == held[-GUARD:] == guard


@needs_loop
def test_a_plug_pulled_at_any_moment_leaves_no_half_system(
    made: tuple[Path, BlockMap], tmp_path: Path
) -> None:
    packed, blocks = made
    chance = random.Random(os.environ.get("EDGEIMG_TEST_SEED", "1"))
    finished = 0
    for _ in range(ROUNDS):
        with loop(tmp_path / "backing") as device:
            before = device.read_bytes()[:512]
            flashing = subprocess.Popen(
                [EDGEIMG, "flash", "--yes", packed, device],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            with contextlib.suppress(subprocess.TimeoutExpired):
                flashing.wait(chance.uniform(0.2, 3.0))
            if flashing.poll() is None:
                flashing.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT]))
            status = flashing.wait(30)
            head = device.read_bytes()[:512]
            if status == 0:
                assert holds(device, tmp_path / "gateway.raw", blocks)
                finished += 1
            elif head != before and not head.startswith(MARK):
                # Killed between the last byte and the goodbye: whole all the same.
                assert holds(device, tmp_path / "gateway.raw", blocks)
            again = run("flash", "--yes", packed, device)
            assert again.returncode == 0, again.stderr
            assert holds(device, tmp_path / "gateway.raw", blocks)
    assert finished < ROUNDS


@needs_loop
def test_disks_in_use_are_refused_by_name(made: tuple[Path, BlockMap], tmp_path: Path) -> None:
    packed, _ = made
    mount = tmp_path / "mnt"
    mount.mkdir()
    with loop(tmp_path / "backing") as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, mount], check=True)
        try:
            refused = run("flash", "--yes", packed, device)
        finally:
            subprocess.run(["umount", mount], check=True)
        assert refused.returncode == 13
        assert f"{device} is mounted on {mount}" in refused.stderr
        subprocess.run(["mkswap", device], check=True, capture_output=True)
        subprocess.run(["swapon", device], check=True)
        try:
            refused = run("flash", "--yes", packed, device)
        finally:
            subprocess.run(["swapoff", device], check=True)
        assert refused.returncode == 13
        assert f"{device} is swap in use" in refused.stderr
        with device.open("rb"):
            pass
        assert run("flash", packed, device).returncode == 13  # nobody to ask
        listed = json.loads(run("devices", "--json").stdout)["devices"]
        assert str(device) in {one["path"] for one in listed}
        assert run("flash", "--yes", packed, device).returncode == 0


@contextlib.contextmanager
def nbd(folder: Path, *options: str, size: int = DISK) -> Iterator[Path]:
    """A disk with faults, as a file."""
    socket, mount = folder / "nbd.sock", folder / "nbd"
    mount.mkdir(exist_ok=True)
    filters = [word for word in options if word.startswith("--filter")]
    settings = [word for word in options if not word.startswith("--filter")]
    server = subprocess.Popen(
        ["nbdkit", "-f", "-U", socket, *filters, "memory", str(size), *settings],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _wait(socket.exists)
    fuse = subprocess.Popen(["nbdfuse", mount, f"nbd+unix:///?socket={socket}"])
    disk = mount / "nbd"
    try:
        _wait(disk.exists)
        yield disk
    finally:
        subprocess.run(["fusermount3", "-u", mount], check=False)
        for process in (fuse, server):
            process.terminate()
            process.wait(30)
        socket.unlink(missing_ok=True)


def _wait(ready) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_nbdkit
@pytest.mark.parametrize(
    "faults",
    [
        ("--filter=error", "error-pwrite=EIO", "error-pwrite-rate=20%"),
        ("--filter=error", "error-pread=EIO", "error-pread-rate=50%"),
        ("--filter=error", "error-pwrite=ENOSPC", "error-pwrite-rate=30%"),
    ],
    ids=["write", "read", "full"],
)
def test_a_disk_with_faults_is_never_a_success_unless_it_holds_everything(
    made: tuple[Path, BlockMap], tmp_path: Path, faults: tuple[str, ...]
) -> None:
    packed, blocks = made
    with nbd(tmp_path, *faults) as disk:
        done = run("flash", "--yes", packed, disk)
        if done.returncode == 0:  # where chance spared it
            assert holds(disk, tmp_path / "gateway.raw", blocks)
        else:
            assert done.returncode == 18, done.stderr
            assert "flash it again" in done.stderr
            assert "Traceback" not in done.stderr


@needs_nbdkit
def test_a_good_disk_behind_the_same_way_succeeds(
    made: tuple[Path, BlockMap], tmp_path: Path
) -> None:
    packed, blocks = made
    with nbd(tmp_path) as disk:
        done = run("flash", "--yes", packed, disk)
        assert done.returncode == 0, done.stderr
        assert holds(disk, tmp_path / "gateway.raw", blocks)
    with nbd(tmp_path, size=8 * MIB) as disk:
        assert run("flash", "--yes", packed, disk).returncode == 13


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to everything")
def test_an_ordinary_user_is_told_the_way_on(made: tuple[Path, BlockMap]) -> None:
    packed, _ = made
    # A file that is not theirs to write to: never a real disk of whoever runs this.
    disk = packed.with_name("disk")
    disk.write_bytes(bytes(DISK))
    disk.chmod(0o444)
    refused = run("flash", "--yes", packed, disk)
    assert refused.returncode == 18
    assert f"you may not write to {disk}" in refused.stderr
    assert "sudo" in refused.stderr
    assert disk.read_bytes() == bytes(DISK)
