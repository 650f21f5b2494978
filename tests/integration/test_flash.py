"""Flashing for real: loop devices, disks that fail, and a hand that pulls the plug at any moment.

EDGEIMG_TEST_FLASHES=100 is what a release wants; EDGEIMG_TEST_SEED chooses other moments.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.flash.write import MARK
from edgeimg.image import blockmap
from edgeimg.image.blockmap import BlockMap

from tests.integration import bad_disks
from tests.unit.flash.test_flash import MIB, image

pytestmark = pytest.mark.integration
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
ROUNDS = int(os.environ.get("EDGEIMG_TEST_FLASHES", "12"))


@dataclass(frozen=True)
class Made:
    """An image, packed and raw, and its block map."""

    image: Path
    raw: Path
    blocks: BlockMap

    def on(self, disk: Path) -> bool:
        """Whether a disk holds it: by cmp(1), range by range."""
        return all(
            subprocess.run(
                ["cmp", "-s", "-n", str(e.size), "-i", str(e.start), disk, self.raw], check=False
            ).returncode == 0
            for e in self.blocks.extents
        )  # fmt: skip

    def somewhere(self, chance: random.Random) -> int:
        """Where a sector of it is that is not zero."""
        extent = chance.choice(self.blocks.extents)
        return chance.randrange(extent.start, extent.end, 512)


Scenario = Callable[[Made, Path, random.Random], str]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    packed, described = image(tmp_path)
    return Made(packed, tmp_path / "gateway.raw", blockmap.read(described))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGEIMG, *map(str, arguments)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def kill(made: Made, folder: Path, chance: random.Random) -> str:
    """A plug pulled at any moment leaves no half system; flashing again makes it whole."""
    with bad_disks.loop(folder / "backing") as device:
        before = device.read_bytes()[:512]
        flashing = subprocess.Popen(
            [EDGEIMG, "flash", "--yes", made.image, device],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # From the first byte written on, and now and then before it.
        if chance.random() < 0.8:
            while flashing.poll() is None and not began(device):
                time.sleep(0.001)
        with contextlib.suppress(subprocess.TimeoutExpired):
            flashing.wait(chance.choice((0.01, 0.1, 0.3)) * chance.random())
        if flashing.poll() is None:
            flashing.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT]))
        status, head = flashing.wait(30), device.read_bytes()[:512]
        # Killed between the last byte and the goodbye, it is whole all the same.
        if status == 0 or (head != before and not head.startswith(MARK)):
            assert made.on(device)
        again = run("flash", "--yes", made.image, device)
        assert again.returncode == 0, again.stderr
        assert made.on(device)
    return "finished" if status == 0 else "killed"


def began(device: Path) -> bool:
    with device.open("rb") as file:
        return file.read(len(MARK)) == MARK


def errors(operation: str, error: str) -> Scenario:
    """A disk that fails now and then."""

    def scenario(made: Made, folder: Path, chance: random.Random) -> str:
        rate = f"error-{operation}-rate={chance.choice((1, 5, 30))}%"
        faulty = folder / "faulty"
        faulty.touch()  # for as long as this exists: whoever compares has a disk that reads
        chosen = (f"error-{operation}={error}", rate, f"error-{operation}-file={faulty}")
        with bad_disks.nbd(folder, "--filter=error", *chosen) as disk:
            return settled(made, disk, faulty.unlink)

    return scenario


def bad_block(made: Made, folder: Path, chance: random.Random) -> str:
    with bad_disks.broken(folder, made.somewhere(chance), silent=False) as disk:
        assert settled(made, disk) == "refused"
    return "refused"


def lost_write(made: Made, folder: Path, chance: random.Random) -> str:
    with bad_disks.broken(folder, made.somewhere(chance), silent=True) as disk:
        assert settled(made, disk) == "refused"
    return "refused"


def full(made: Made, folder: Path, _: random.Random) -> str:
    """Where writes are short before they fail."""
    with bad_disks.full(folder) as disk:
        done = run("flash", "--yes", made.image, disk)
        assert done.returncode == 18
        assert "No space left" in done.stderr
        assert "make room" in done.stderr
        assert disk.read_bytes().startswith(MARK)
    return "refused"


def too_small(made: Made, folder: Path, chance: random.Random) -> str:
    size = chance.randrange(0, made.blocks.image_size, 4096)
    with bad_disks.nbd(folder, size=size) as disk:
        assert run("flash", "--yes", made.image, disk).returncode == 13
        assert not any(disk.read_bytes())
    return "refused"


def settled(made: Made, disk: Path, calm: Callable[[], None] = lambda: None) -> str:
    """A success that holds everything, or a refusal that tells what to do."""
    done = run("flash", "--yes", made.image, disk)
    calm()
    if done.returncode == 0:  # where chance spared it
        assert made.on(disk)
        return "finished"
    assert done.returncode == 18, done.stderr
    assert "flash it again" in done.stderr
    assert "Traceback" not in done.stderr
    return "refused"


SCENARIOS: tuple[Scenario, ...] = (
    kill, errors("pwrite", "EIO"), kill, bad_block, kill, errors("pread", "EIO"), lost_write, kill,
    errors("pwrite", "ENOSPC"), full, kill, too_small,
)  # fmt: skip


@bad_disks.needs_loop
@bad_disks.needs_nbdkit
def test_a_success_is_one_whatever_happens(made: Made, tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("EDGEIMG_TEST_SEED", "1"))
    seen: Counter[str] = Counter()
    for number, scenario in zip(range(ROUNDS), itertools.cycle(SCENARIOS), strict=False):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen[scenario(made, folder, chance)] += 1
        shutil.rmtree(folder)
    print(f"\n{ROUNDS} flashes: {dict(seen)}")
    assert seen["killed"]
    assert seen["refused"]


@bad_disks.needs_loop
def test_disks_in_use_are_refused_by_name(made: Made, tmp_path: Path) -> None:
    mount = tmp_path / "mnt"
    mount.mkdir()
    with bad_disks.loop(tmp_path / "backing") as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, mount], check=True)
        try:
            result = run("flash", "--yes", made.image, device)
        finally:
            subprocess.run(["umount", mount], check=True)
        assert result.returncode == 13
        assert f"{device} is mounted on {mount}" in result.stderr
        subprocess.run(["mkswap", device], check=True, capture_output=True)
        subprocess.run(["swapon", device], check=True)
        try:
            result = run("flash", "--yes", made.image, device)
        finally:
            subprocess.run(["swapoff", device], check=True)
        assert result.returncode == 13
        assert f"{device} is swap in use" in result.stderr
        with device.open("rb"):
            pass
        assert run("flash", made.image, device).returncode == 13  # nobody to ask
        listed = json.loads(run("devices", "--json").stdout)["devices"]
        assert str(device) in {one["path"] for one in listed}
        assert run("flash", "--yes", made.image, device).returncode == 0


@bad_disks.needs_loop
def test_a_partition_protects_its_disk(made: Made, toolbox, tmp_path: Path) -> None:
    with bad_disks.loop(tmp_path / "backing") as device:
        table = b"start=2048, type=linux\n"
        toolbox("pack").run("sfdisk", "-q", "--no-reread", device, input=table, timeout=60)
        subprocess.run(["partx", "--add", device], check=True)
        part = Path(f"{device}p1")
        try:
            part.write_bytes(b"LUKS\xba\xbe\0\1".ljust(1024, b"\0"))  # a header of its version 1
            before = device.read_bytes()
            disk = run("flash", "--yes", made.image, device)
            inside = run("flash", "--yes", made.image, part)
        finally:
            subprocess.run(["partx", "--delete", device], check=True)
        assert disk.returncode == 13, disk.stderr + disk.stdout
        assert device.read_bytes() == before
        assert disk.returncode == inside.returncode == 13
        assert f"{part} is an encrypted volume (LUKS)" in disk.stderr
        assert f"it is on {device}: name that disk" in inside.stderr


@bad_disks.needs_loop
def test_what_cannot_be_laid_out_for_large_sectors_is_refused(made: Made, tmp_path: Path) -> None:
    """An image without a partition table: nothing is written."""
    with bad_disks.loop(tmp_path / "backing", sector=4096) as device:
        before = device.read_bytes()
        result = run("flash", "--yes", made.image, device)
        assert device.read_bytes() == before
    assert result.returncode == 14
    assert "it has no partition table" in result.stderr


@bad_disks.needs_nbdkit
def test_a_good_disk_behind_the_same_way_succeeds(made: Made, tmp_path: Path) -> None:
    with bad_disks.nbd(tmp_path) as disk:
        done = run("flash", "--yes", made.image, disk)
        assert done.returncode == 0, done.stderr
        assert made.on(disk)
    with bad_disks.nbd(tmp_path, size=8 * MIB) as disk:
        assert run("flash", "--yes", made.image, disk).returncode == 13


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may look into."""
    with tempfile.TemporaryDirectory(prefix="edgeimg-test.") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def as_anybody(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run edgeimg as somebody without rights: root becomes one, others are already."""
    # Its interpreter may be below root's home: everything is loaded before.
    code = """
import os, sys
import edgeimg.cli.flashing
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
edgeimg.cli.main()
"""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip


def test_an_ordinary_user_makes_a_file(public: Path) -> None:
    packed, described = image(public)
    done = as_anybody(public, "flash", "--yes", packed, public / "gateway.img")
    assert done.returncode == 0, done.stderr
    assert Made(packed, public / "gateway.raw", blockmap.read(described)).on(public / "gateway.img")
    disk = public / "disk"
    disk.write_bytes(bytes(bad_disks.DISK))
    disk.chmod(0o444)
    denied(as_anybody(public, "flash", "--yes", packed, disk), disk)


@bad_disks.needs_loop
def test_an_ordinary_user_is_told_the_way_on(public: Path) -> None:
    packed, _ = image(public)
    with bad_disks.loop(public / "backing") as device:
        denied(as_anybody(public, "flash", "--yes", packed, device), device)
        # Before a question is asked, which would be for nothing.
        denied(as_anybody(public, "flash", packed, device), device)
        listed = as_anybody(public, "devices").stdout
        assert f"{device} " in listed
        assert "yes, with sudo" in listed


def test_an_ordinary_user_names_a_place_out_of_reach(public: Path) -> None:
    packed, _ = image(public)
    closed = public / "closed"
    closed.mkdir(mode=0o700)
    target = public / "gateway.img"
    for asked, place in (
        ((packed, closed / "gateway.img"), closed / "gateway.img"),
        ((packed, public / "nowhere/gateway.img"), public / "nowhere"),
        ((packed, packed / "gateway.img"), packed / "gateway.img"),
        ((closed / packed.name, target), closed / packed.name),
        ((packed, target, "--logs", closed / "logs"), closed / "logs"),
    ):
        done = as_anybody(public, "flash", "--yes", *asked)
        assert done.returncode == 13, done.stderr
        assert done.stderr.count("error: ") == 1
        assert str(place) in done.stderr.partition("error: ")[2].splitlines()[0]
        assert "bug" not in done.stderr
        assert not target.exists()
    assert not list(closed.iterdir())


def denied(done: subprocess.CompletedProcess[str], disk: Path) -> None:
    assert done.returncode == 13, done.stderr
    assert f"you may not write to {disk}" in done.stderr
    assert "sudo" in done.stderr
    assert len(set(disk.read_bytes())) == 1  # as it was made


def test_standard_output_carries_the_whole_image(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.raw"
    command = [EDGEIMG, "flash", str(made.image), "-"]
    with out.open("wb") as file:
        subprocess.run(command, stdout=file, check=True, stdin=subprocess.DEVNULL)
    assert subprocess.run(["cmp", out, made.raw], check=False).returncode == 0
    assert run("flash", "--json", made.image, "-").returncode == 2
    assert run("flash", made.image, "-", tmp_path / "new").returncode == 2
    with Path("/dev/full").open("wb") as file:
        full = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    assert full.returncode == 13
    assert "standard output takes no more after byte 0: No space left" in full.stderr
    gone = subprocess.run(
        ["bash", "-c", '"$@" | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}', "bash", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert gone.returncode == 13
    assert "Broken pipe" in gone.stderr


@pytest.mark.parametrize(
    ("answer", "status"), [(b"n\n", 18), (b"\n", 18), (b"\3", 130), (b"y\n", 0)]
)
def test_the_question_shows_what_will_be_lost(
    made: Made, tmp_path: Path, answer: bytes, status: int
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(bad_disks.DISK))
    pid, terminal = pty.fork()
    if not pid:
        os.execv(EDGEIMG, [EDGEIMG, "flash", str(made.image), str(disk)])
    said = b""
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while True:
            if select.select([terminal], [], [], 1)[0]:
                said += os.read(terminal, 4096)
            # Again when nothing happens: a signal just before the program waits is not seen.
            elif b"Write? [y/N] " in said:
                os.write(terminal, answer)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert b"gateway.raw.zst (25.2 MB) will replace everything on:" in said
    assert f"{disk.name} (a file)".encode() in said
    assert made.on(disk) == (status == 0)
    assert status == 0 or not any(disk.read_bytes())


def test_a_new_file_needs_no_question_and_an_image_its_map(made: Made, tmp_path: Path) -> None:
    done = run("flash", made.image, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    made.image.with_name("gateway.bmap").unlink()
    result = run("flash", made.image, tmp_path / "other")
    assert result.returncode == 14
    assert "there is no block map" in result.stderr
    assert not (tmp_path / "other").exists()


def test_a_terminal_gets_no_image(made: Made) -> None:
    main, terminal = pty.openpty()
    done = subprocess.run(
        [EDGEIMG, "flash", made.image, "-"],
        stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(terminal)
    assert done.returncode == 13
    assert "standard output is a terminal" in done.stderr
    with pytest.raises(OSError, match="Input/output error"):
        os.read(main, 1)  # nothing was written to it
    os.close(main)


def test_a_damaged_image_never_goes_out_whole(made: Made) -> None:
    data = bytearray(made.raw.read_bytes())
    data[5 * MIB] ^= 1
    made.raw.write_bytes(data)
    done = subprocess.run([EDGEIMG, "flash", made.raw, "-"], capture_output=True, check=False)
    assert done.returncode == 14
    assert len(done.stdout) < made.blocks.image_size
    assert b"does not match its block map" in done.stderr
