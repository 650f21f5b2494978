"""Power is lost while the starts of a new version are counted on the EFI system partition.

Each write of a rename is recorded by QEMU, and the gateway is started from what every cut would
have left. With a boot loader that counts (U-Boot, EDK2), and with one that cannot, for which the
initrd counts. It takes half an hour: EDGEIMG_TEST_COUNTING=1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from edgeimg import tree
from edgeimg.arch import ARM64, X86_64, Arch
from edgeimg.build import boards
from edgeimg.cache.store import Store
from edgeimg.pack import image
from edgeimg.recipe.file import load
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Kernel
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv

from tests import write_log
from tests.console import DISK
from tests.gateway import PROJECT, edgeimg

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_COUNTING") != "1",
        reason="asked for with EDGEIMG_TEST_COUNTING=1",
    ),
]
STUB = "EFI stub: Loaded initrd"
ROOT = "TINY done"
INIT = b"""\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b ls /run/edgeimg
$b echo "TINY done"
exec $b sleep 3600
"""
BLESS = b"""\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b echo "TINY done"
$b mkdir /run/boot
$b mount -t vfat -o umask=0077 /dev/vda1 /run/boot
for entry in /run/boot/EFI/Linux/*+*.efi; do
    $b mv "$entry" "${entry%+*}.efi"
done
$b sync
$b echo "TINY blessed"
exec $b sleep 3600
"""
ONE = GuestOptions(cpus=1)
WITHOUT_RENAME = """\
[board]
name = "old"
arch = "arm64"
packages = ["u-boot-qemu"]
config = "usr/share/doc/u-boot-qemu/configs/config.qemu_arm64.gz"
counting = "initrd"

[board.qemu]
bios = "usr/lib/u-boot/qemu_arm64/u-boot.bin"
"""
"""U-Boot of Debian 13: 2025.01."""
HARMLESS = re.compile(
    r"^fsck.fat |^\S+: \d+ files|Free cluster summary|not properly unmounted|Dirty bit"
    r"|Automatically removing|Auto-correcting|Leaving filesystem unchanged|Reclaimed \d+ unused|^$"
    r"|differences between boot sector|mostly harmless|^  65:01/00$|Not automatically fixing"
    r"|Orphaned long file name part|Auto-deleting"
)
"""U-Boot does not keep the number of free clusters and can lose one when it first saves its
variables; Linux marks what it has mounted, in byte 65 of the boot sector. A part of a long
name may be left of a rename."""
DEADLINE = 240.0


@dataclass(frozen=True)
class Machine:
    """A gateway whose disk is a raw file that a test may change while it is off."""

    arch: Arch
    options: GuestOptions
    disk: Path
    esp: int
    """Byte of the disk where the EFI system partition begins."""
    size: int
    toolbox: Toolbox
    pack: Toolbox
    counts: bool = False
    """The initrd counts, not the boot loader."""

    def start(self, until: str, log: Path | None = None) -> str:
        """Turn it on, cut the power once the console says `until`, and return what it said."""
        work = self.disk.parent
        console = work / "console.log"
        console.unlink(missing_ok=True)
        spec = machine.layout(
            self.arch, self.disk, work, self.options, accel=accel.tcg(self.arch, "a test"),
            console=console, toolbox=self.toolbox,
        )  # fmt: skip
        drive = f"{DISK}format=raw,cache=unsafe,file={self.disk}"
        if log is not None:
            log.write_bytes(b"")
            drive = (
                f"{DISK}driver=blklogwrites,{write_log.OPTIONS},file.driver=raw,"
                f"file.file.driver=file,file.file.filename={self.disk},"
                f"log.driver=file,log.filename={log}"
            )
        argv = [drive if word.startswith(DISK) else word for word in qemu_argv(spec)]
        with subprocess.Popen(
            self.toolbox.argv(argv[0], *argv[1:]), env=self.toolbox.environment(),
            stdin=subprocess.DEVNULL,
        ) as qemu:  # fmt: skip
            try:
                return _wait(console, until, qemu)
            finally:
                qemu.kill()

    def entries(self) -> list[str]:
        """The boot entries' names."""
        place = f"{self.disk}@@{self.esp}"
        told = self.pack.run("mdir", "-b", "-i", place, "::/EFI/Linux", timeout=60).decode()
        return sorted(
            line.rpartition("/")[2] for line in told.splitlines() if line.endswith(".efi")
        )

    def uki(self, name: str) -> bytes:
        """A boot entry's contents."""
        place = f"{self.disk}@@{self.esp}"
        return self.pack.run("mtype", "-i", place, f"::/EFI/Linux/{name}", timeout=60)

    def problems(self) -> list[str]:
        """What a check of the file system finds, less a wrong number of free clusters."""
        alone = self.disk.with_suffix(".esp")
        with self.disk.open("rb") as source, alone.open("wb") as target:
            source.seek(self.esp)
            target.write(source.read(self.size))
        argv = self.pack.argv("fsck.fat", "-n", alone)
        env = self.pack.environment()
        told = subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout
        return [line for line in told.splitlines() if not HARMLESS.search(line)]


def _wait(console: Path, until: str, qemu: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + DEADLINE
    while True:
        said = console.read_text(errors="replace") if console.exists() else ""
        if until in said:
            return said
        assert qemu.poll() is None, said[-2000:]
        assert time.monotonic() < deadline, f"{until!r} was not seen: {said[-2000:]}"
        time.sleep(0.1)


def tries(name: str) -> int:
    """How many a boot entry has left; -1 once it has proved itself."""
    match = re.search(r"\+(\d+)", name)
    return int(match[1]) if match else -1


def made(
    tiny, arch: Arch, work: Path, toolbox: Callable[[str], Toolbox], *, init: bytes = INIT,
    recipe: Recipe | None = None, options: GuestOptions = ONE,
) -> Machine:  # fmt: skip
    source = tiny.source(arch, {"usr/bin/init": tree.file(init, mode=0o755)})
    source = replace(source, recipe=recipe or source.recipe)
    filesystems = image.make_filesystems(source, store=tiny.cache, toolbox=tiny.pack)
    packed = image.make_disk(source, filesystems, work, toolbox=tiny.pack)
    esp = packed.plan["esp"]
    return Machine(arch, options, packed.raw, esp.start, esp.size, toolbox("qemu"), tiny.pack)


def try_cuts(gateway: Machine, log: Path, before: Path, *, most: int = 2) -> int:
    """Start from what each cut of `log` leaves of the disk `before`; how many there are."""
    seen = set[frozenset[tuple[int, bytes]]]()
    shutil.copyfile(gateway.disk, after := gateway.disk.with_suffix(".after"))
    kernel = gateway.uki(gateway.entries()[0])
    for writes in write_log.cuts(write_log.read(log)):
        state = frozenset({write.sector: write.data for write in writes}.items())
        if state in seen:
            continue
        seen.add(state)
        copy(before, gateway.disk)
        write_log.apply(gateway.disk, writes)
        names = gateway.entries()
        assert 1 <= len(names) <= most
        # The copy of a repair may not be whole yet.
        assert all(gateway.uki(name) == kernel for name in names if "-1000" not in name)
        fewest = min(map(tries, names))
        gateway.start(ROOT if len(names) > 1 or gateway.counts or most > 2 else STUB)
        (name,) = gateway.entries()
        assert tries(name) <= fewest, f"{names} became {name}"
        assert gateway.uki(name) == kernel
        assert gateway.problems() == []
        gateway.start(ROOT if gateway.counts else STUB)
        (again,) = gateway.entries()
        assert tries(again) == max(tries(name) - 1, min(tries(name), 0)), f"{name}, {again}"
    copy(after, gateway.disk)
    return len(seen)


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def u_boot(project: Path, board: str, cache: Store) -> GuestOptions:
    """A machine with the boot loader of a board, a name or a file of the project."""
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, project / name, symlinks=True)
    (project / "old.toml").write_text(WITHOUT_RENAME)
    edgeimg(project, "lock", "--board", board)
    name = str(project / board) if board.endswith(".toml") else board
    source = load(project / "recipes/gateway.toml", board=name)
    return replace(ONE, board=boards.model(source, store=cache, ui=Ui(verbosity=-1)))


@pytest.mark.parametrize("loader", ["u-boot", "uefi"])
def test_boot_loader_counts(
    loader: str, tiny, toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    arch, options = (X86_64, ONE)
    if loader == "u-boot":
        arch, options = ARM64, u_boot(tmp_path / "project", "qemu-virt-uboot", cache)
    gateway = made(tiny, arch, tmp_path, toolbox, options=options)
    before, log, cuts = tmp_path / "before.raw", tmp_path / "writes", 0
    for left in (2, 1, 0):
        copy(gateway.disk, before)
        gateway.start(STUB if arch is ARM64 else ROOT, log)
        assert [tries(name) for name in gateway.entries()] == [left]
        cuts += try_cuts(gateway, log, before)
    assert cuts >= 9


def test_initrd_counts(
    tiny, toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    options = u_boot(tmp_path / "project", "old.toml", cache)
    recipe = Recipe(kernel=Kernel(cmdline=("edgeimg.count=initrd",)))
    gateway = made(tiny, ARM64, tmp_path, toolbox, options=options, recipe=recipe)
    gateway = replace(gateway, counts=True)
    before, log, cuts = tmp_path / "before.raw", tmp_path / "writes", 0
    for left in (2, 1, 0):
        copy(gateway.disk, before)
        assert "boot-count" in gateway.start(ROOT, log)
        assert [tries(name) for name in gateway.entries()] == [left]
        if left == 1:
            cuts = try_cuts(gateway, log, before)
    assert cuts >= 5


def test_version_is_kept(
    tiny, toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    """Linux renames the boot entry of a version that has proved itself."""
    options = u_boot(tmp_path / "project", "qemu-virt-uboot", cache)
    gateway = made(tiny, ARM64, tmp_path, toolbox, options=options, init=BLESS)
    before, log = tmp_path / "before.raw", tmp_path / "writes"
    gateway.start(STUB)
    copy(gateway.disk, before)
    gateway.start("TINY blessed", log)
    assert [tries(name) for name in gateway.entries()] == [-1]
    assert try_cuts(gateway, log, before) >= 5


def test_power_is_lost_in_a_repair(
    tiny, toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    options = u_boot(tmp_path / "project", "qemu-virt-uboot", cache)
    gateway = made(tiny, ARM64, tmp_path, toolbox, options=options)
    before, log = tmp_path / "before.raw", tmp_path / "writes"
    gateway.start(STUB)
    copy(gateway.disk, before)
    gateway.start(STUB, log)
    for writes in write_log.cuts(write_log.read(log)):
        copy(before, gateway.disk)
        write_log.apply(gateway.disk, writes)
        if len(gateway.entries()) == 2:
            break
    copy(gateway.disk, before)
    gateway.start(ROOT, log)
    assert try_cuts(gateway, log, before, most=3) >= 5
