"""Blank firmware takes the keys; then it starts what they signed, and nothing else.

The Secure Boot builds of OVMF and AAVMF, with one set of variables for all starts. The root is one
script.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg import process, tools, tree
from edgeimg.arch import ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.lock.model import Lock
from edgeimg.pack import boot_files, esp, image
from edgeimg.sources import deb
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode, secure_boot
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv

ASKED = "EDGEIMG_TEST_SECURE_BOOT"
pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(os.environ.get(ASKED) != "1", reason=f"asked for with {ASKED}=1"),
]
DEADLINE = 420.0
EPOCH = 1767225600


@dataclass(frozen=True)
class Firmware:
    """The Secure Boot build of an architecture's firmware. The tools tree leaves it out."""

    package: str
    path: str
    machine: str = ""
    options: tuple[str, ...] = ()


FIRMWARE = {
    X86_64: Firmware(
        "ovmf", "usr/share/OVMF/OVMF_CODE_4M.secboot.fd", ",smm=on",
        ("-global", "driver=cfi.pflash01,property=secure,value=on"),
    ),
    ARM64: Firmware("qemu-efi-aarch64", "usr/share/AAVMF/AAVMF_CODE.secboot.fd"),
}  # fmt: skip
VARIABLE = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
UKI_SIZE = 1 << 20
"""The UKI is the only program that is larger."""
INIT = f"""\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b xz -dc /usr/lib/efivarfs.ko.xz > /run/efivarfs.ko
$b insmod /run/efivarfs.ko
$b mount -t efivarfs efivarfs /sys/firmware/efi/efivars
$b echo "TINY SecureBoot" $($b od -An -tu1 {VARIABLE})
$b echo "TINY done"
$b poweroff -f
""".encode()


@dataclass(frozen=True)
class Board:
    """A machine that keeps its variables."""

    arch: Arch
    code: Path
    variables: Path
    toolbox: Toolbox
    work: Path

    def start(self, raw: Path, until: str) -> str:
        """Start from a disk until the console says `until`; what it said."""
        place = self.work / f"start-{time.monotonic_ns()}"
        place.mkdir()
        console = place / "console"
        spec = machine.layout(
            self.arch, raw, place, GuestOptions(cpus=1), accel=accel.tcg(self.arch, "a test"),
            console=console, toolbox=self.toolbox,
        )  # fmt: skip
        spec = dataclasses.replace(
            spec, firmware_code=self.code, firmware_vars=self.variables, report=None
        )
        argv = qemu_argv(spec)
        firmware = FIRMWARE[self.arch]
        argv[argv.index("-machine") + 1] += firmware.machine
        argv += firmware.options
        errors = place / "errors"
        with errors.open("wb") as log, process.start(
            self.toolbox.argv(argv[0], *argv[1:]), env=self.toolbox.environment(),
            stdout=process.DEVNULL, stderr=log, dies_with_us=True,
        ) as qemu:  # fmt: skip
            deadline = time.monotonic() + DEADLINE
            said = ""
            while time.monotonic() < deadline:
                ended = qemu.poll() is not None
                said = console.read_text(errors="replace") if console.exists() else ""
                if until in said:
                    return said
                assert not ended, f"QEMU ended: {errors.read_text()}\n{said[-3000:]}"
                time.sleep(0.5)
        raise AssertionError(f"{until!r} was not seen:\n{said[-3000:]}")


@pytest.fixture(params=FIRMWARE, ids=lambda arch: arch.name)
def board(
    request: pytest.FixtureRequest,
    cache: Store,
    default_lock: Lock,
    toolbox: Callable[[str], Toolbox],
    tmp_path: Path,
) -> Board:
    """A machine whose variables are blank."""
    qemu, arch = toolbox("qemu"), request.param
    wanted = FIRMWARE[arch]
    packages = tools.packages(default_lock, "qemu", tools.build_host())
    (package,) = (package for package in packages if package.name == wanted.package)
    firmware = deb.read_blob(package, blobs=cache, store=Store(tmp_path / "scratch")).tree
    code, variables = tmp_path / "code.fd", tmp_path / "vars.fd"
    code.write_bytes(firmware[wanted.path].read())
    shutil.copyfile(qemu.path(arch.qemu.firmware_vars), variables)
    return Board(arch, code, variables, qemu, tmp_path)


def test_only_what_the_enrolled_keys_signed_starts(tiny, board: Board, tmp_path: Path) -> None:
    home, public = tmp_path / "private", tmp_path / "public"
    secure_boot.generate(home, public, name="Example Ltd", epoch=EPOCH)
    signer = secure_boot.signer(home, public)
    files: dict[str, tree.Node] = {"usr/bin/init": tree.file(INIT, mode=0o755)}
    source = tiny.source(board.arch, files)
    module = source.kernel.modules[source.kernel.files["efivarfs"]]
    source = dataclasses.replace(
        source,
        root=tree.Tree({**dict(source.root.items()), "usr/lib/efivarfs.ko.xz": module}),
    )
    variables = secure_boot.variables(public)
    filesystems = image.make_filesystems(source, store=tiny.cache, toolbox=tiny.pack)
    packed = image.make_disk(source, filesystems, tmp_path, toolbox=tiny.pack)

    def disk(name: str, *, loader: bool = True, flip: bool = False, uki: bool = True) -> Path:
        def change(program: bytes) -> bytes:
            is_uki = len(program) > UKI_SIZE
            if not (uki if is_uki else loader):
                return program
            signed = bytearray(authenticode.sign(program, signer.certificate, signer.sign))
            signed[len(program) // 2] ^= flip and is_uki
            return bytes(signed)

        place = tmp_path / name
        place.mkdir()
        boot_files.replace(
            packed.raw, packed.plan, place / "disk.raw", change=change,
            more=esp.enrolment(variables, "force"), epoch=EPOCH, toolbox=tiny.pack,
        )  # fmt: skip
        return place / "disk.raw"

    good = disk("good")
    said = board.start(good, "TINY done")
    assert "TINY SecureBoot 6 0 0 0 1" in said, said[-3000:]
    for name, raw, refusal in (
        ("an unsigned loader", disk("loader", loader=False), "Access Denied"),  # by the firmware
        ("an unsigned UKI", disk("unsigned", uki=False), "Access denied"),  # by systemd-boot
        ("a changed byte", disk("flipped", flip=True), "Access denied"),
    ):
        said = board.start(raw, refusal)
        assert "TINY" not in said, name
    assert "TINY SecureBoot 6 0 0 0 1" in board.start(good, "TINY done")
