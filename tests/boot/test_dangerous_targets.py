"""Disks that must not be flashed, for real: each stack of devices is made in one guest.

The guest is Debian's kernel and an initrd of Debian packages, with edgeimg's own sources on top;
tests/boot/dangerous_targets.py is its only program. EDGEIMG_TEST_TARGETS=raid_in_use,luks_open
runs some of the cases.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg import fetch, tree
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb
from edgeimg.fetch import mirrors
from edgeimg.lock import groups
from edgeimg.pack import cpio
from edgeimg.sources import deb, debian
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree, overlay
from edgeimg.vm import accel
from edgeimg.vm.qmp import Qmp

from tests.boot import dangerous_targets
from tests.unit.flash.test_flash import MIB, image

pytestmark = pytest.mark.boot
PROJECT = Path(__file__).parents[2]
SILENCE = 400.0
"""Seconds after which a guest that says nothing has failed: its boot is the longest."""
PACKAGES = (
    "base-files", "bcache-tools", "btrfs-progs", "coreutils", "cryptsetup-bin", "dash", "dmsetup",
    "e2fsprogs", "fdisk", "kmod", "lvm2", "mdadm", "mount", "python3", "udev", "util-linux",
)  # fmt: skip
MODULES = (*dangerous_targets.MODULES, "virtio_pci", "crypto/*", "arch/x86/crypto/*")
UNUSED = re.compile(
    r"usr/(share/(?!zoneinfo)|lib/python3/dist-packages/|sbin/multipath)|boot/|"
    r"usr/lib/python3\.\d+/(test|idlelib|ensurepip|pydoc_data|lib2to3|tkinter)/"
)
SERIALS = {"a": 64, "b": 64, "small": 8, "read-only": 64, "swap-1": 64}
"""Disks by serial, in MiB."""
SPARE = {"swap-2": 64, "swap-3": 64, "shared": 64, "disc": 4}
"""What is plugged in later, has two paths, is optical."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What edgeimg depends on, for the Python of the guest."""
    target = tmp_path_factory.mktemp("wheels")
    platforms = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target,
         "--only-binary", ":all:", "--python-version", "3.13",
         *(word for platform in platforms for word in ("--platform", platform)), *requirements()],
        check=True,
    )  # fmt: skip
    return target


def requirements() -> list[str]:
    text = (PROJECT / "pyproject.toml").read_text()
    table = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert table
    return re.findall(r'"(.+?)"', table[1])


@pytest.fixture(scope="module")
def guest_files(
    tiny: Any, cache: Store, toolbox: Callable[[str], Toolbox], wheels: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:  # fmt: skip
    """Kernel and initrd."""
    work = tmp_path_factory.mktemp("guest")
    (packed,) = tiny.trees(X86_64, "kernel").values()
    kernel = kernel_deb.from_deb(packed)
    modules = kernel_deb.select(kernel, MODULES, store=cache, strict=False)
    (work / "vmlinuz").write_bytes(tree.file(kernel.image).read())
    contents = tree.union([userland(cache, work), modules]).without(
        lambda path, _: bool(UNUSED.match(path))
    )
    image(work)
    srv = {
        "srv": tree.directory(),
        "init": tree.file(
            b"#!/usr/bin/python3\n" + Path(dangerous_targets.__file__).read_bytes(), mode=0o755
        ),
        **{f"srv/{name}": tree.file((work / name).read_bytes())
           for name in ("gateway.raw.zst", "gateway.bmap")},
        **below("srv/edgeimg", PROJECT / "builder/edgeimg"),
        **below("srv/packages", wheels),
    }  # fmt: skip
    archive = cpio.archive(contents.with_nodes(srv))
    toolbox("pack").run("zstd", "-3", "-q", "-f", "-o", work / "initrd", input=archive, timeout=120)
    return work / "vmlinuz", work / "initrd"


def userland(cache: Store, work: Path) -> Tree:
    """Debian's packages, unpacked."""
    sources = mirrors.from_host(os.environ)
    with debian.open_index(X86_64, "trixie", sources, accept_unsigned=False, work=work) as index:
        packages = index.resolve(PACKAGES, exclude=groups.EXCLUDED)
    fetch.fetch(fetch.package_downloads(packages, sources), cache, offline=False)
    return tree.union(
        deb.read(cache.blob(p.sha256), p.sha256, store=cache, origin=p.name).tree for p in packages
    )


def below(place: str, directory: Path) -> dict[str, tree.Node]:
    found = overlay.from_directory(directory, origin="test").without(
        lambda path, _: "__pycache__" in path
    )
    return {place: tree.directory(), **{f"{place}/{path}": node for path, node in found.items()}}


def node(work: Path, file: str, more: str = "", *, name: str = "") -> tuple[str, str]:
    return "-blockdev", f"driver=file,node-name={name or file},filename={work / file}{more}"


def argv(work: Path, kernel: Path, initrd: Path, toolbox: Toolbox) -> list[str]:
    """QEMU's command line: disks that can be unplugged, two paths to one, an optical one."""
    how = accel.tcg(X86_64, "a test")
    for name, size in (*SERIALS.items(), *SPARE.items()):
        with (work / name).open("wb") as file:
            file.truncate(size * MIB)
    disks = [
        word
        for number, serial in enumerate(SERIALS)
        for word in (
            *node(work, serial, ",read-only=on" if serial == "read-only" else ""),
            *("-device", f"scsi-hd,id=dev-{serial},drive={serial},serial={serial},lun={number}"),
        )
    ]
    for number, path in enumerate(("path-1", "path-2"), 20):
        disks += node(work, "shared", ",locking=off", name=path)
        disks += ["-device", f"scsi-hd,drive={path},serial={path},share-rw=on,lun={number}"]
    disks += [*node(work, "swap-2"), *node(work, "swap-3"), *node(work, "disc", ",read-only=on")]
    disks += ["-device", "scsi-cd,drive=disc,lun=30"]
    words = ["console=ttyS0", "quiet", "panic=-1", "rdinit=/init"]
    if only := os.environ.get("EDGEIMG_TEST_TARGETS"):
        words.append(f"-- only={only}")
    return [
        "qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
        "-machine", "q35", "-accel", how.argument, "-cpu", how.cpu, "-m", "1536M",
        "-L", str(toolbox.root / "usr/share/qemu"), "-L", str(toolbox.root / "usr/share/seabios"),
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(words),
        "-device", "virtio-scsi-pci,id=scsi", *disks,
        "-chardev", f"file,id=console,path={work / 'console'}", "-serial", "chardev:console",
        "-qmp", f"unix:{work / 'qmp'},server=on,wait=off",
    ]  # fmt: skip


@contextlib.contextmanager
def running(command: list[str], toolbox: Toolbox, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (work / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            ["nice", "-n", "5", *toolbox.argv(command[0], *command[1:])],
            env=toolbox.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def swap(qmp: Qmp, serial: str, node: str) -> None:
    """Pull the disk that is swapped, and plug another one in."""
    qmp.execute("device_del", id="dev-swap-1")
    deadline = time.monotonic() + 60
    while not any(event.get("event") == "DEVICE_DELETED" for event in qmp.events):
        assert time.monotonic() < deadline, "the guest does not let go of the disk"
        qmp.execute("query-status")
        time.sleep(0.1)
    qmp.events.clear()
    time.sleep(1)
    number = list(SERIALS).index("swap-1")
    qmp.execute(
        "device_add", driver="scsi-hd", id="dev-swap-1", drive=node, serial=serial, lun=number,
        bus="scsi.0",
    )  # fmt: skip


def test_every_dangerous_target_is_refused_and_keeps_its_bytes(
    guest_files: tuple[Path, Path], toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    qemu, console = toolbox("qemu"), tmp_path / "console"
    nodes = iter(["swap-2", "swap-1", "swap-3", "swap-1"])
    with (
        running(argv(tmp_path, *guest_files, qemu), qemu, tmp_path) as process,
        Qmp(tmp_path / "qmp", timeout=30) as qmp,
    ):
        heard, since, swaps = 0, time.monotonic(), 0
        while "\nDONE" not in (said := told(console)) and process.poll() is None:
            if len(said) > heard:
                heard, since = len(said), time.monotonic()
            assert time.monotonic() < since + SILENCE, said[-3000:]
            asked = re.findall(r"^SWAP (\S+)", said, re.MULTILINE)
            for serial in asked[swaps:]:
                swap(qmp, serial, next(nodes))
            swaps = len(asked)
            time.sleep(0.3)
    said = told(console)
    cases = [json.loads(line) for line in re.findall(r"^CASE (.*)$", said, re.MULTILINE)]
    for one in cases:
        print(one["case"], one.get("seconds"), one.get("said", one.get("broken")))
    wrong = [one for one in cases if not refused(one)]
    assert wrong == []
    assert "\nDONE" in said, said[-3000:]
    assert len(cases) >= 25 or os.environ.get("EDGEIMG_TEST_TARGETS")


def told(console: Path) -> str:
    return console.read_text(errors="replace").replace("\r", "") if console.exists() else ""


def refused(one: dict[str, Any]) -> bool:
    """By name, with each reason, and nothing was written."""
    if "broken" in one or "Traceback" in one["said"]:
        return False
    # A terminal of the guest breaks no line, but a message has several.
    said = " ".join(one["said"].split())
    reasons = all(reason in said for reason in one["expected"])
    return one["status"] in (13, 18) and one["unchanged"] and reasons
