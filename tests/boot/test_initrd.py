"""From firmware to the first program of the root: the boot chain, with a root of one script.

UEFI → systemd-boot → UKI → initrd → dm-verity → init, on each architecture; and what the
initrd does when the root was tampered with, is not there, or belongs to another image.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg import tree
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.pack import image
from edgeimg.pack.image import Packed
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Kernel
from edgeimg.smoke.boots import LOSSES
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.machine import GuestLostError

from tests.console import switched
from tests.gateway import CPUS

pytestmark = pytest.mark.boot
DEADLINE = 240.0
MACHINE_ID = "0123456789abcdef0123456789abcdef"

INIT = b"""\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b echo changed > /etc/changed && $b echo "TINY etc is writable"
$b touch /usr/lib/changed 2> /dev/null || $b echo "TINY root is read-only"
$b grep -q '^etc /etc overlay' /proc/mounts && $b echo "TINY etc is an overlay"
$b grep -q '^/dev/dm-0 / erofs ro' /proc/mounts && $b echo "TINY root is verified"
$b sha256sum /usr/lib/payload > /dev/null && $b echo "TINY payload was read"
[ -r /etc/machine-id ] && $b echo "TINY machine-id $($b cat /etc/machine-id)"
$b echo "TINY done"
$b poweroff -f
"""

Boot = Callable[..., str]


@pytest.fixture(scope="module")
def packed(tiny, tmp_path_factory) -> Packed:
    return tiny.make(X86_64, files(), tmp_path_factory.mktemp("tiny"))


def files() -> dict[str, tree.Node]:
    return {"usr/bin/init": tree.file(INIT, mode=0o755)}


@pytest.fixture
def boot(toolbox: Callable[[str], Toolbox], tmp_path: Path) -> Boot:
    """Boots a raw image until its console says `until`, and returns what the console said."""

    def run(raw: Path, until: str, arch: Arch = X86_64) -> str:
        for _ in range(LOSSES):
            with contextlib.suppress(GuestLostError):
                return once(raw, until, arch)
        return once(raw, until, arch)

    def once(raw: Path, until: str, arch: Arch) -> str:
        console = tmp_path / "console.log"
        with machine.start(
            arch, raw, GuestOptions(cpus=CPUS), accel=accel.tcg(arch, "a test"), console=console,
            toolbox=toolbox("qemu"),
        ) as guest:  # fmt: skip
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline:
                said = console.read_text(errors="replace") if console.exists() else ""
                if until in said:
                    return said
                guest.alive()
                time.sleep(0.3)
        raise AssertionError(f"{until!r} was not seen:\n{said[-3000:]}")

    return run


def writable(packed: Packed, path: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", packed.raw, path], check=True)
    return path


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_reaches_init(tiny, boot: Boot, arch: Arch, tmp_path: Path) -> None:
    image = tiny.make(arch, files(), tmp_path)
    said = boot(image.raw, "TINY done", arch)
    for line in (
        "etc is writable",
        "root is read-only",
        "etc is an overlay",
        "root is verified",
        "payload was read",
    ):
        assert f"TINY {line}" in said
    assert "machine-id" not in said


def test_tampered_root_is_never_used(packed: Packed, boot: Boot, tmp_path: Path) -> None:
    raw = writable(packed, tmp_path / "disk.raw")
    with raw.open("r+b") as disk:
        disk.seek(packed.plan["root-a"].start + 1024 + 100)  # in the EROFS superblock's block
        byte = disk.read(1)[0]
        disk.seek(-1, 1)
        disk.write(bytes([byte ^ 1]))
    said = boot(raw, "is corrupted")
    assert "TINY" not in said


def test_tampered_file_restarts_the_machine(packed: Packed, boot: Boot, tmp_path: Path) -> None:
    """A block that is read after init has started, not while the root is mounted."""
    raw = writable(packed, tmp_path / "disk.raw")
    with raw.open("r+b") as disk:
        data = disk.read()
        start, size = packed.plan["root-a"].start, packed.sizes["root"]
        # The payload's pattern is the same in every block, so any of its blocks will do.
        position = data.find(bytes(range(256)), start, start + size)
        assert position > 0
        disk.seek(position)
        disk.write(b"tampered")
    said = boot(raw, "is corrupted")
    assert "TINY payload was read" not in said


def test_missing_root_is_one_clear_line(tiny, packed: Packed, boot: Boot, tmp_path: Path) -> None:
    raw = writable(packed, tmp_path / "disk.raw")
    other = "11111111-2222-4333-8444-555555555555"
    tiny.pack.run("sfdisk", "--part-uuid", raw, "2", other, timeout=60)
    said = boot(raw, "restarting in")
    half = packed.root_hash[:32]
    expected = rf"edgeimg: cannot start: no root partition {half} within 6\d s; restarting"
    assert re.search(expected, said)
    assert "TINY" not in said


def test_hash_tree_of_another_root_is_refused(packed: Packed, boot: Boot, tmp_path: Path) -> None:
    raw = writable(packed, tmp_path / "disk.raw")
    with raw.open("r+b") as disk:
        disk.seek(packed.plan["root-a-verity"].start)
        disk.write(bytes(512))
    said = boot(raw, "restarting in")
    assert "holds no dm-verity hash tree" in said


def test_machine_id_comes_back_from_data(tiny, packed: Packed, boot: Boot, tmp_path: Path) -> None:
    raw = writable(packed, tmp_path / "disk.raw")
    size = 16 << 20
    with raw.open("r+b") as disk:
        disk.truncate(packed.plan.size + size)
    tiny.pack.run("sfdisk", "--relocate", "gpt-bak-std", raw, timeout=60)
    tiny.pack.run("sfdisk", "--append", raw, input=b'name="data"\n', timeout=60)
    content = tmp_path / "var/lib/edgeimg"
    content.mkdir(parents=True)
    (content / "machine-id").write_text(f"{MACHINE_ID}\n")
    data = tmp_path / "data.ext4"
    with data.open("wb") as file:
        file.truncate(size - (2 << 20))
    tiny.pack.run("mkfs.ext4", "-q", "-d", tmp_path / "var", data, timeout=60)
    with raw.open("r+b") as disk:
        disk.seek(packed.plan.size - (1 << 20))
        disk.write(data.read_bytes())
    said = boot(raw, "TINY done")
    assert f"TINY machine-id {MACHINE_ID}" in said


@pytest.mark.skipif(
    os.environ.get("EDGEIMG_TEST_BOARDS") != "1", reason="asked for with EDGEIMG_TEST_BOARDS=1"
)
@pytest.mark.parametrize("word", ["systemd.watchdog_sec=10s", "edgeimg.no_watchdog"])
def test_watchdog_runs_before_systemd(
    word: str, tiny, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    """A system that stops in the root without a word of systemd, as if its kernel had."""
    init = INIT.replace(b"$b poweroff -f", b"exec $b sleep 3600")
    source = tiny.source(X86_64, {"usr/bin/init": tree.file(init, mode=0o755)})
    source = replace(source, recipe=Recipe(kernel=Kernel(cmdline=(word,))))
    filesystems = image.make_filesystems(source, store=tiny.cache, toolbox=tiny.pack)
    packed = image.make_disk(source, filesystems, tmp_path, toolbox=tiny.pack)
    watchdog = ("-device", "i6300esb")
    with switched(packed.raw, tmp_path, toolbox=toolbox("qemu"), more=watchdog) as turn_on:
        console = turn_on(lambda console: console.wait_for("TINY done", DEADLINE))
        console.forget()
        if word.startswith("systemd."):
            console.wait_for("TINY done", DEADLINE)
        else:
            with pytest.raises(AssertionError, match="was not seen"):
                console.wait_for("TINY|starting", 40)
