"""Disks for flashing: loop devices between guards, and disks with faults.

Faults are nbdkit's filters, or a small shell script that it asks (its eval plugin); the disk is
seen as a file through nbdfuse.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
GUARD = MIB
DISK = 32 * MIB
WAIT = 30.0

needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root, loop devices"
)
HAS_FUSE = Path("/dev/fuse").exists()
needs_nbdkit = pytest.mark.skipif(
    not (HAS_FUSE and all(map(shutil.which, ("nbdkit", "nbdfuse", "fusermount3")))),
    reason="needs nbdkit and nbdfuse: apt install nbdkit libnbd-bin fuse3"
    if HAS_FUSE else "needs root, FUSE",
)  # fmt: skip


@contextlib.contextmanager
def loop(backing: Path, *, sector: int = 512, size: int = DISK) -> Iterator[Path]:
    """A loop device between two guards: a byte outside of it would show. Sizes in bytes."""
    guard = b"\x5a" * GUARD
    backing.write_bytes(guard + os.urandom(1) * size + guard)
    device = subprocess.run(
        ["losetup", "-f", "--show", "-b", str(sector), "-o", str(GUARD), "--sizelimit", str(size),
         backing],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
        held = backing.read_bytes()
        assert held[:GUARD] == held[-GUARD:] == guard


@contextlib.contextmanager
def nbd(folder: Path, *options: str, size: int = DISK) -> Iterator[Path]:
    """A disk with faults: options that start with `--filter` come before nbdkit's plugin."""
    filters = [word for word in options if word.startswith("--filter")]
    settings = [word for word in options if not word.startswith("--filter")]
    with _served(folder, *filters, "memory", str(size), *settings) as disk:
        yield disk


@contextlib.contextmanager
def broken(folder: Path, place: int, *, silent: bool) -> Iterator[Path]:
    """A disk whose block at `place` cannot be read, or (`silent`) never takes what is written."""
    store = folder / "store"
    with store.open("wb") as file:
        file.truncate(DISK)
    covers = f"[ $4 -le {place} ] && [ $(($4 + $3)) -gt {place} ]"
    way = "iflag=count_bytes,skip_bytes,fullblock oflag=seek_bytes conv=notrunc status=none"
    read = f"dd if={store} skip=$4 count=$3 bs=64k {way}"
    # Of a pwrite, the data is on standard input.
    write = f"dd of={store} seek=$4 bs=64k {way}"
    if silent:
        zero = f"head -c 512 /dev/zero | dd of={store} seek={place} {way}"
        write = f"{write}; if {covers}; then {zero}; fi"
    else:
        read = f"if {covers}; then echo EIO bad block >&2; exit 1; fi; {read}"
    methods = {
        "get_size": f"echo {DISK}",
        "pread": read,
        "pwrite": write,
        "can_write": "exit 0",
        "can_flush": "exit 0",
        "flush": "exit 0",
    }
    with _served(folder, "eval", *(f"{name}={code}" for name, code in methods.items())) as disk:
        yield disk


@contextlib.contextmanager
def full(folder: Path) -> Iterator[Path]:
    """A file of the disk's size, on a file system that has room for a part of it."""
    mount = folder / "full"
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK // 5}", "full", mount], check=True)
    try:
        with (mount / "disk").open("wb") as file:
            file.truncate(DISK)
        yield mount / "disk"
    finally:
        subprocess.run(["umount", mount], check=True)


@contextlib.contextmanager
def _served(folder: Path, *arguments: str) -> Iterator[Path]:
    socket, mount = folder / "nbd.sock", folder / "nbd"
    mount.mkdir(exist_ok=True)
    server = subprocess.Popen(
        ["nbdkit", "-f", "-U", socket, *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _until(socket.exists)
    fuse = subprocess.Popen(["nbdfuse", mount, f"nbd+unix:///?socket={socket}"])
    disk = mount / "nbd"
    try:
        _until(disk.exists)
        yield disk
    finally:
        subprocess.run(["fusermount3", "-u", mount], check=False)
        for process in (fuse, server):
            process.terminate()
            process.wait(WAIT)
        socket.unlink(missing_ok=True)


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
