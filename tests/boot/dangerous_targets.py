"""Process 1 of a guest whose disks must not be flashed: real stacks of devices, one case each.

Every case puts something of worth on a disk and runs `edgeimg flash --yes --fixed` against it. What
it said and did goes to the console, a line of JSON each; test_dangerous_targets.py judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IMAGE = "/srv/gateway.raw.zst"
MODULES = (
    "virtio_scsi", "sd_mod", "sr_mod", "ext4", "btrfs", "loop", "zram", "dm_mod", "dm_crypt",
    "dm_multipath", "dm_service_time", "raid1", "bcache", "isofs",
)  # fmt: skip
WAIT = 60.0
Command = Callable[[], None]


class Case:
    """What is to be refused, and the words that say why."""

    def __init__(self, target: str, *told: str, options: tuple[str, ...] = ("--fixed",)) -> None:
        self.target, self.told, self.options = target, told, options
        self.prepare: Command = lambda: None
        """Done by the process that flashes, before it does."""
        self.answer: Command | None = None
        """Done between the question and the answer; None when nothing is asked (--yes)."""
        self.bytes_of: str | None = target
        """Whose bytes must stay as they are."""


CASES: dict[str, Callable[[], Any]] = {}


def case(make: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
    CASES[make.__name__] = contextlib.contextmanager(make)
    return make


def sh(command: str) -> str:
    done = subprocess.run(
        ["sh", "-ec", command], capture_output=True, text=True, check=False, timeout=WAIT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def works(command: str) -> bool:
    return not subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode


def settle() -> None:
    sh("udevadm settle --timeout=30")


def lookup(serial: str) -> str:
    """The disk with a serial number that the host gave it, if udev knows it."""
    told = json.loads(sh("lsblk --json --nodeps --output PATH,SERIAL"))["blockdevices"]
    return next((str(one["path"]) for one in told if one["serial"] == serial), "")


def named(serial: str) -> str:
    """The same, when it is there."""
    until(lambda: bool(lookup(serial)))
    return lookup(serial)


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come")
        time.sleep(0.1)


@contextlib.contextmanager
def made(begin: str, end: str) -> Iterator[None]:
    """Run `begin`, and `end` after the block."""
    try:
        sh(begin)
        settle()
        yield
    finally:
        sh(end)


def mkfs(device: str) -> str:
    return f"mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 {device}"


def partitioned(disk: str) -> str:
    """Make one partition; its path."""
    sh(f"echo 'start=2048, type=linux' | sfdisk -q --wipe always {disk}")
    settle()
    return f"{disk}1"


@case
def mounted_partition() -> Iterator[Case]:
    part = partitioned(A)
    with made(f"{mkfs(part)}; mount {part} /mnt; sync", "umount /mnt"):
        yield Case(A, f"{part} is mounted on /mnt")


@case
def mounted_disk() -> Iterator[Case]:
    with made(f"{mkfs(A)}; mount {A} /mnt; sync", "umount /mnt"):
        yield Case(A, f"{A} is mounted on /mnt")


@case
def bind_mount_that_is_left() -> Iterator[Case]:
    begin = f"{mkfs(A)}; mount {A} /mnt; mkdir /mnt/x; mount --bind /mnt/x /opt; umount /mnt; sync"
    with made(begin, "umount /opt"):
        yield Case(A, f"{A} is mounted on /opt")


@case
def mounted_in_another_namespace() -> Iterator[Case]:
    sh(mkfs(A))
    with hidden(lambda: sh(f"mount {A} /mnt; sync")):
        yield Case(A, "is mounted on /mnt by")


@case
def partition_mounted_in_another_namespace() -> Iterator[Case]:
    part = partitioned(A)
    sh(mkfs(part))
    with hidden(lambda: sh(f"mount {part} /mnt; sync")):
        yield Case(A, f"{part} is mounted on /mnt by")


@contextlib.contextmanager
def hidden(act: Command) -> Iterator[None]:
    """Have something done by a process with mounts of its own, which lives as long as the block."""
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.unshare(os.CLONE_NEWNS)  # type: ignore[attr-defined]
        sh("mount --make-rprivate /")
        act()
        os.write(tell, b"x")
        time.sleep(3600)
    os.close(tell)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        time.sleep(0.5)


@case
def swap_partition() -> Iterator[Case]:
    part = partitioned(A)
    with made(f"mkswap {part}; swapon {part}; sync", f"swapoff {part}"):
        yield Case(A, f"{part} is swap in use")


@case
def swap_file() -> Iterator[Case]:
    begin = f"""{mkfs(A)}; mount {A} /mnt; dd if=/dev/zero of=/mnt/swap bs=1M count=8 status=none
        chmod 600 /mnt/swap; mkswap /mnt/swap; swapon /mnt/swap; sync"""
    with made(begin, "swapoff /mnt/swap; umount /mnt"):
        yield Case(A, f"{A} is mounted on /mnt")


@case
def file_system_that_a_program_still_uses() -> Iterator[Case]:
    sh(f"{mkfs(A)}; mount {A} /mnt; echo worth > /mnt/file; sync")
    with open("/mnt/file") as file:  # noqa: PTH123
        sh("umount -l /mnt")
        yield Case(A, f"{A} is in use: the kernel does not hand it out")
        assert file.read()
    time.sleep(0.5)


@case
def hibernated_system() -> Iterator[Case]:
    part = partitioned(A)
    mark = f"printf S1SUSPEND | dd of={part} bs=1 seek=4086 conv=notrunc status=none"
    with made(f"mkswap {part}; {mark}; sync; udevadm trigger --settle {part}", ":"):
        yield Case(A, f"{part} is a hibernated system")


@case
def lvm_in_use() -> Iterator[Case]:
    part = partitioned(A)
    with made(f"pvcreate -q {part}; vgcreate -q vg {part}; lvcreate -qn data -L 8M vg; sync",
              "vgchange -an vg"):  # fmt: skip
        yield Case(A, f"{part} is a physical volume of LVM", "vg-data (lvm) stands on it")


@case
def lvm_at_rest() -> Iterator[Case]:
    with made(f"pvcreate -q {A}; vgcreate -q vg {A}; vgchange -an vg; sync", ":"):
        yield Case(A, f"{A} is a physical volume of LVM")


RAID = "mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 --assume-clean --run"


@case
def raid_in_use() -> Iterator[Case]:
    with made(f"{RAID} {A} {B}; sleep 1", "mdadm --stop /dev/md0"):
        yield Case(B, f"{B} is a member of a RAID array", "/dev/md0 (raid1) stands on it")


@case
def raid_at_rest() -> Iterator[Case]:
    with made(f"{RAID} {A} {B}; mdadm --stop /dev/md0; sync", ":"):
        yield Case(A, f"{A} is a member of a RAID array")


@case
def raid_itself() -> Iterator[Case]:
    with made(f"{RAID} {A} {B}; sleep 1", "mdadm --stop /dev/md0"):
        yield Case("/dev/md0", "/dev/md0 is not a whole disk")


LUKS = "echo secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000"


@case
def luks_open() -> Iterator[Case]:
    part = partitioned(A)
    with made(f"{LUKS} {part}; echo secret | cryptsetup open {part} safe; sync",
              "cryptsetup close safe"):  # fmt: skip
        yield Case(A, f"{part} is an encrypted volume", "/dev/mapper/safe (crypt) stands on it")


@case
def luks_closed() -> Iterator[Case]:
    with made(f"{LUKS} {A}; sync", ":"):
        yield Case(A, f"{A} is an encrypted volume")


def become_root() -> None:
    """What is mounted on /mnt is the root of whoever calls this."""
    for name in ("usr", "dev", "proc", "sys", "run", "srv", "etc"):
        sh(f"mkdir -p /mnt/{name}; mount --rbind /{name} /mnt/{name}")
    for name in ("bin", "sbin", "lib", "lib64"):
        Path(f"/mnt/{name}").symlink_to(f"usr/{name}")
    Path("/mnt/tmp").mkdir()
    sh("sync")
    os.chroot("/mnt")
    os.chdir("/")


@case
def root_disk() -> Iterator[Case]:
    part = partitioned(A)
    with made(f"{mkfs(part)}; mount {part} /mnt; sync", "umount -R /mnt"):
        one = Case(A, f"{part} holds the system that runs here")
        one.prepare, one.bytes_of = become_root, None
        yield one


@case
def root_on_lvm_on_luks() -> Iterator[Case]:
    part = partitioned(A)
    begin = f"""{LUKS} {part}; echo secret | cryptsetup open {part} safe
        pvcreate -q /dev/mapper/safe; vgcreate -q vg /dev/mapper/safe; lvcreate -qn root -L 24M vg
        {mkfs("/dev/vg/root")}; mount /dev/vg/root /mnt; sync"""
    with made(begin, "umount -R /mnt; vgchange -an vg; cryptsetup close safe"):
        one = Case(A, "/dev/mapper/vg-root holds the system that runs here")
        one.prepare, one.bytes_of = become_root, None
        yield one


@case
def loop_on_a_file_on_it() -> Iterator[Case]:
    begin = f"""{mkfs(A)}; mount {A} /mnt; truncate -s 8M /mnt/file; losetup /dev/loop0 /mnt/file
        sync; umount -l /mnt"""
    with made(begin, "losetup -d /dev/loop0; sleep 1"):
        yield Case(A, "is in use")


@case
def loop_on_the_disk() -> Iterator[Case]:
    with made(f"losetup --offset 1M /dev/loop0 {A}", "losetup -d /dev/loop0; sleep 0.5"):
        yield Case(A, "/dev/loop0 (loop) stands on it")


@case
def loop_on_a_partition_of_it() -> Iterator[Case]:
    part = partitioned(A)
    begin = f"losetup /dev/loop0 {part}; {mkfs('/dev/loop0')}; mount /dev/loop0 /mnt; sync"
    with made(begin, "umount /mnt; losetup -d /dev/loop0; sleep 0.5"):
        yield Case(A, "/dev/loop0 (loop) stands on it", "is mounted on /mnt")


@case
def linear_target() -> Iterator[Case]:
    with made(f"echo 0 2048 linear {A} 2048 | dmsetup create part", "dmsetup remove part"):
        yield Case(A, "/dev/mapper/part (dm) stands on it")


@case
def path_of_a_multipath_device() -> Iterator[Case]:
    with multipath():
        yield Case(M, "/dev/mapper/mpath0 (mpath) stands on it")


@case
def multipath_device() -> Iterator[Case]:
    with multipath():
        yield Case("/dev/mapper/mpath0", "is not a whole disk")


@contextlib.contextmanager
def multipath() -> Iterator[None]:
    numbers = [sh(f"lsblk -dno MAJ:MIN {path}").strip() for path in (M, N)]
    paths = " ".join(f"{number} 1" for number in numbers)
    sectors = sh(f"blockdev --getsz {M}").strip()
    table = f"0 {sectors} multipath 0 0 1 1 service-time 0 2 1 {paths}"
    with made(f"dmsetup create mpath0 --uuid mpath-test --table '{table}'",
              "dmsetup remove --retry mpath0"):  # fmt: skip
        yield


BCACHE = "make-bcache --bucket 64k --block 4k"


@contextlib.contextmanager
def bcache() -> Iterator[None]:
    sh(f"{BCACHE} -B {A} -C {B}")
    settle()
    for disk in (A, B):  # udev's rules may have been here before
        with contextlib.suppress(OSError):
            Path("/sys/fs/bcache/register").write_text(disk)
    until(Path("/sys/block/bcache0").exists)
    try:
        yield
    finally:
        Path("/sys/block/bcache0/bcache/stop").write_text("1")
        for found in Path("/sys/fs/bcache").glob("*-*/stop"):
            found.write_text("1")
        until(lambda: not Path("/sys/block/bcache0").exists())
        until(lambda: not list(Path("/sys/fs/bcache").glob("*-*")))
        time.sleep(1)


@case
def disk_behind_bcache() -> Iterator[Case]:
    with bcache():
        yield Case(A, f"{A} is a bcache device")


@case
def cache_of_bcache() -> Iterator[Case]:
    with bcache():
        yield Case(B, f"{B} is a bcache device")


BTRFS = "mkfs.btrfs -qfM -m single -d single"


@case
def btrfs_on_two_mounted() -> Iterator[Case]:
    with made(f"{BTRFS} {A} {B}; btrfs device scan; mount {A} /mnt; sync", "umount /mnt"):
        yield Case(B, "btrfs on several disks")


@case
def btrfs_on_two_at_rest() -> Iterator[Case]:
    with made(f"{BTRFS} {A} {B}; sync", "btrfs device scan --forget"):
        yield Case(B, "btrfs on several disks")


@case
def partition() -> Iterator[Case]:
    part = partitioned(A)
    yield Case(part, f"{part} is not a whole disk", f"it is on {A}")


@case
def write_protected() -> Iterator[Case]:
    yield Case(R, f"{R} is write-protected")


@case
def too_small() -> Iterator[Case]:
    yield Case(S, "it holds 8.4 MB, the image needs 25.2 MB")


@case
def optical() -> Iterator[Case]:
    yield Case("/dev/sr0", "/dev/sr0 is not a whole disk")


@case
def swap_in_memory() -> Iterator[Case]:
    with made("echo 64M > /sys/block/zram0/disksize; mkswap /dev/zram0; swapon /dev/zram0",
              "swapoff /dev/zram0"):  # fmt: skip
        yield Case("/dev/zram0", "/dev/zram0 is swap in use")


@case
def not_made_to_be_taken_out() -> Iterator[Case]:
    yield Case(A, "not removable: add --fixed", options=())


@case
def held_by_another_program() -> Iterator[Case]:
    fd = os.open(A, os.O_RDWR | os.O_EXCL)
    try:
        yield Case(A, f"{A} is in use: the kernel does not hand it out")
    finally:
        os.close(fd)


@case
def mounted_after_the_question() -> Iterator[Case]:
    sh(mkfs(A))
    with made(":", "umount /mnt"):
        one = Case(A, "is in use now", f"{A} is mounted on /mnt")
        one.answer = lambda: sh(f"mount {A} /mnt; sync") and None
        one.bytes_of = None
        yield one


@case
def link_that_leads_elsewhere_after_the_question() -> Iterator[Case]:
    link = Path("/run/card")
    link.symlink_to(A)

    def turn() -> None:
        link.unlink()
        link.symlink_to(B)

    one = Case(str(link), f"led to {A}, and leads to {B} now")
    one.answer, one.bytes_of = turn, B
    try:
        yield one
    finally:
        link.unlink()


def appearance(path: str) -> str:
    """Of a disk, which one it is since the kernel started; nothing when there is none."""
    try:
        return Path("/sys/block", Path(path).name, "diskseq").read_text()
    except OSError:
        return ""


def swapped(other: str) -> Iterator[Case]:
    """A disk that is taken out after the question; another one takes its name."""
    path = named("swap-1")

    def swap(serial: str) -> None:
        before = appearance(path)
        print("SWAP", serial, flush=True)
        until(lambda: appearance(path) not in ("", before))
        settle()
        until(lambda: lookup(serial) == path)

    one = Case(path, "is another disk than the one that was shown")
    one.answer = lambda: swap(other)
    yield one
    swap("swap-1")


@case
def another_disk_after_the_question() -> Iterator[Case]:
    yield from swapped("swap-2")


@case
def another_disk_of_the_same_serial_after_the_question() -> Iterator[Case]:
    yield from swapped("swap-1")


def record(name: str) -> dict[str, Any]:
    told: dict[str, Any] = {"case": name}
    try:
        wipe()
        with CASES[name]() as found:
            settle()
            before = digest(found.bytes_of)
            told["status"], told["said"] = flash(found)
            told["unchanged"] = digest(found.bytes_of) == before
            told["expected"] = found.told
    except BaseException:
        told["broken"] = traceback.format_exc()
    return told


def wipe() -> None:
    for disk in (A, B):
        sh(f"wipefs -qaf {disk}* || true; dd if=/dev/zero of={disk} bs=1M status=none count=8")
        settle()
        until(lambda disk=disk: works(f"blockdev --rereadpt {disk}"))  # udev may look at it
        sh(f"udevadm trigger --settle {disk}")


def digest(path: str | None) -> str:
    """sha256 of what is on a disk, by another program."""
    return sh(f"blockdev --flushbufs {path}; sha256sum < {path}") if path else ""


def flash(found: Case) -> tuple[int, str]:
    """What edgeimg answers, in a process of its own."""
    asked = found.answer is not None
    arguments = ["flash", *found.options, *(() if asked else ("--yes",)), IMAGE, found.target]
    pid, terminal = pty.fork()
    if not pid:
        sys.argv = ["edgeimg", *arguments]
        try:
            found.prepare()
            main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        except BaseException:
            traceback.print_exc()
        os._exit(99)
    said = b""
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while data := os.read(terminal, 4096):
            said += data
            if found.answer is not None and b"Write?" in said:
                found.answer()
                found.answer = None
                os.write(terminal, b"y\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")


def setup() -> None:
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"),
                        ("tmpfs", "/run"), ("tmpfs", "/tmp")):  # fmt: skip
        Path(place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, kind, place], check=True)
    sh("mkdir -p /dev/pts /mnt /opt /run/lock; mount -t devpts devpts /dev/pts")
    for module in MODULES:
        sh(f"modprobe {module}")
    sh("/usr/lib/systemd/systemd-udevd --daemon; udevadm trigger --action=add")
    settle()


if __name__ == "__main__":
    os.environ |= {"PATH": "/usr/sbin:/usr/bin", "TERM": "dumb", "COLUMNS": "300"}
    sys.path[:0] = ["/srv/packages", "/srv"]
    setup()
    from edgeimg.cli import main

    A, B, M, N, R, S = map(named, ("a", "b", "path-1", "path-2", "read-only", "small"))
    print("READY", json.dumps(list(CASES)), flush=True)
    wanted = [word[5:].split(",") for word in sys.argv if word.startswith("only=")]
    for each in wanted[0] if wanted else list(CASES):
        began = time.monotonic()
        result = record(each)
        print("CASE", json.dumps(result | {"seconds": round(time.monotonic() - began, 1)}))
        sys.stdout.flush()
    print("DONE", flush=True)
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)
