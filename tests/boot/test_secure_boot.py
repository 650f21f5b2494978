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
from edgeimg import fetch, process, tools, tree
from edgeimg.arch import ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.pack import boot_files, esp, image
from edgeimg.pack.image import Packed
from edgeimg.sources import deb
from edgeimg.tools import Toolbox
from edgeimg.tree.node import Kind
from edgeimg.trust import authenticode, rotation, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory
from edgeimg.trust.secure_boot import BootSigner
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv

from tests.conftest import TinyImages

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
WRITE = """\
l=/usr/lib
append() {
    f=/sys/firmware/efi/efivars/$1-d719b2cb-3d3a-4596-a3bc-dad00e67656f
    [ ! -e $f ] || $l/loader --library-path $l $l/chattr -i $f
    { $b printf '\\147\\0\\0\\0'; $b cat $2; } > /run/write
    $b dd if=/run/write of=$f bs=64k && $b echo "TINY appended $1"
}
append db /usr/lib/db-append.auth
append dbx /usr/lib/dbx.auth
"""
"""What docs/how-to/secure-boot.md has a gateway do."""
CHATTR = {
    "chattr": "usr/bin/chattr", "loader": "ld-linux-", "libc.so.6": "libc.so.6",
    "libe2p.so.2": "libe2p.so.2.", "libcom_err.so.2": "libcom_err.so.2.",
}  # fmt: skip
"""The program and its libraries: name in /usr/lib, and how the path or name in Debian begins."""
INIT = """\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b xz -dc /usr/lib/efivarfs.ko.xz > /run/efivarfs.ko
$b insmod /run/efivarfs.ko
$b mount -t efivarfs efivarfs /sys/firmware/efi/efivars
$b echo "TINY SecureBoot" $($b od -An -tu1 %(variable)s)
%(more)s
$b echo "TINY done"
$b poweroff -f
"""


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


@dataclass(frozen=True)
class Maker:
    """Keys, and an image that they sign."""

    signer: BootSigner
    public: Path
    tiny: TinyImages
    work: Path

    def chattr(self, arch: Arch) -> dict[str, tree.Node]:
        """The program, which busybox does not have."""
        lock = self.tiny.lock.images[arch.name]
        names = ("e2fsprogs", "libext2fs2t64", "libcom-err2", "libc6")
        packages = [package for package in lock.packages() if package.name in names]
        fetch.fetch(
            fetch.package_downloads(packages, mirrors.from_host(os.environ)), self.tiny.cache,
            offline=False,
        )  # fmt: skip
        store = Store(self.work / "chattr")
        found = {
            path: node
            for package in packages
            for path, node in deb.read_blob(
                package, blobs=self.tiny.cache, store=store
            ).tree.items()
            if node.kind is Kind.FILE
        }  # fmt: skip
        return {
            f"usr/lib/{name}": next(
                tree.replace(node, mode=0o755)
                for path, node in found.items()
                if path.startswith(start) or path.rpartition("/")[2].startswith(start)
            )
            for name, start in CHATTR.items()
        }

    def pack(self, arch: Arch, more: str = "", **files: bytes) -> Packed:
        """An image whose init runs `more`; `files` are in its /usr/lib."""
        init = INIT % {"variable": VARIABLE, "more": more}
        nodes = {"usr/bin/init": tree.file(init.encode(), mode=0o755)}
        nodes |= {f"usr/lib/{name}.auth": tree.file(data) for name, data in files.items()}
        nodes |= self.chattr(arch) if more else {}
        source = self.tiny.source(arch, nodes)
        module = source.kernel.modules[source.kernel.files["efivarfs"]]
        root = tree.Tree({**dict(source.root.items()), "usr/lib/efivarfs.ko.xz": module})
        source = dataclasses.replace(source, root=root)
        filesystems = image.make_filesystems(source, store=self.tiny.cache, toolbox=self.tiny.pack)
        place = self.work / f"image-{time.monotonic_ns()}"
        place.mkdir()
        return image.make_disk(source, filesystems, place, toolbox=self.tiny.pack)

    def disk(self, packed: Packed, name: str, change: Callable[[bytes], bytes]) -> Path:
        """The disk with changed programs, and with the keys to enroll."""
        place = self.work / name
        place.mkdir()
        boot_files.replace(
            packed.raw, packed.plan, place / "disk.raw", change=change,
            more=esp.enrolment(secure_boot.variables(self.public), "force"), epoch=EPOCH,
            toolbox=self.tiny.pack,
        )  # fmt: skip
        return place / "disk.raw"

    def sign(self, program: bytes) -> bytes:
        """A signed program."""
        return authenticode.sign(program, self.signer.certificate, self.signer.sign)


@pytest.fixture
def maker(tiny, tmp_path: Path) -> Maker:
    home, public = tmp_path / "private", tmp_path / "public"
    secure_boot.generate(KeyDirectory(home), public, name="Example Ltd", epoch=EPOCH)
    return Maker(secure_boot.signer(KeyDirectory(home), public), public, tiny, tmp_path)


def test_only_what_the_enrolled_keys_signed_starts(maker: Maker, board: Board) -> None:
    packed = maker.pack(board.arch)

    def disk(name: str, *, loader: bool = True, flip: bool = False, uki: bool = True) -> Path:
        def change(program: bytes) -> bytes:
            is_uki = len(program) > UKI_SIZE
            if not (uki if is_uki else loader):
                return program
            signed = bytearray(maker.sign(program))
            signed[len(program) // 2] ^= flip and is_uki
            return bytes(signed)

        return maker.disk(packed, name, change)

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


def test_a_revoked_uki_is_refused_and_a_new_key_is_taken(
    maker: Maker, board: Board, tmp_path: Path
) -> None:
    """A gateway in the field takes db-append.auth and dbx.auth from its root."""
    home, rotated = tmp_path / "private", tmp_path / "rotated"
    rotation.rotate(
        KeyDirectory(home), maker.public, rotated, name="Example Ltd 2", epoch=EPOCH + 1
    )
    old, digests = maker.pack(board.arch), []

    def sign_and_note(program: bytes) -> bytes:
        if len(program) > UKI_SIZE:
            digests.append(rotation.digest(program))
        return maker.sign(program)

    first = maker.disk(old, "first", sign_and_note)
    (digest,) = digests
    rotation.revoke(KeyDirectory(home), rotated, [digest], epoch=EPOCH + 1)
    append = {"db-append": rotated / secure_boot.APPEND, "dbx": rotated / secure_boot.REVOKED}
    new = maker.pack(
        board.arch, WRITE, **{name: path.read_bytes() for name, path in append.items()}
    )
    second = maker.disk(new, "second", maker.sign)
    successor = dataclasses.replace(maker, signer=secure_boot.signer(KeyDirectory(home), rotated))
    third = successor.disk(new, "third", successor.sign)

    enrolled = "TINY SecureBoot 6 0 0 0 1"
    assert enrolled in board.start(first, "TINY done")
    assert "TINY" not in board.start(third, "Access Denied")
    said = board.start(second, "TINY done")
    assert all(text in said for text in (enrolled, "TINY appended db", "TINY appended dbx")), said
    assert "TINY" not in board.start(first, "Access denied")
    for disk in (second, third):
        assert enrolled in board.start(disk, "TINY done")
