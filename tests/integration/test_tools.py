"""The tools tree's programs start and do their work on this host, as they are."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.errors import ToolError
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv

pytestmark = pytest.mark.integration
Tools = Callable[[str], Toolbox]
MIB = 1 << 20


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("mkfs.erofs", b"mkfs.erofs (erofs-utils) 1.8"),
        ("fsck.erofs", b"fsck.erofs (erofs-utils) 1.8"),
        ("dump.erofs", b"dump.erofs (erofs-utils) 1.8"),
        ("veritysetup", b"veritysetup 2.7"),
        ("sfdisk", b"sfdisk from util-linux 2.41"),
        ("mtools", b"mtools"),
        ("zstd", b"v1.5"),
        ("dmsetup", b"version"),
        ("systemd-repart", b"systemd 257"),
    ],
)
def test_pack_programs_start(toolbox: Tools, program: str, says: bytes) -> None:
    assert says in toolbox("pack").run(program, "--version", timeout=30)


def test_erofs_made_from_a_tar_is_sound(toolbox: Tools, tmp_path: Path) -> None:
    pack = toolbox("pack")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/hello").write_text("hello\n" * 10_000)
    image = tmp_path / "root.erofs"
    pack.run("mkfs.erofs", "-zlz4hc", "-T0", image, tmp_path / "root", timeout=60)
    pack.run("fsck.erofs", f"--extract={tmp_path / 'out'}", image, timeout=60)
    assert (tmp_path / "out/hello").read_text() == "hello\n" * 10_000
    hashes = tmp_path / "root.verity"
    out = pack.run("veritysetup", "format", image, hashes, timeout=60).decode()
    root_hash = out.split("Root hash:")[1].split()[0]
    pack.run("veritysetup", "verify", image, hashes, root_hash, timeout=60)
    with image.open("r+b") as file:
        file.seek(1024)
        file.write(b"tampered")
    with pytest.raises(ToolError):
        pack.run("veritysetup", "verify", image, hashes, root_hash, timeout=60)


def test_multi_call_programs_know_their_name(toolbox: Tools, tmp_path: Path) -> None:
    pack = toolbox("pack")
    image = tmp_path / "fat.img"
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(8 * MIB)
    pack.run("mkfs.vfat", "-n", "CONFIG", image, timeout=30)
    (tmp_path / "note.txt").write_text("kept")
    pack.run("mcopy", "-i", image, tmp_path / "note.txt", "::/note.txt", timeout=30)
    assert pack.run("mtype", "-i", image, "::/note.txt", timeout=30) == b"kept"


def test_sfdisk_reads_what_it_wrote(toolbox: Tools, tmp_path: Path) -> None:
    pack = toolbox("pack")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(16 * MIB)
    script = b"label: gpt\nsize=4MiB, type=uefi, name=esp\n"
    pack.run("sfdisk", disk, input=script, timeout=30)
    table = json.loads(pack.run("sfdisk", "-J", disk, timeout=30))["partitiontable"]
    assert [part["name"] for part in table["partitions"]] == ["esp"]


def test_ukify_is_reachable_as_a_file(toolbox: Tools) -> None:
    assert toolbox("pack").path("usr/lib/systemd/ukify").read_text().startswith("#!")


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_qemu_of_each_architecture_starts_its_machine(
    toolbox: Tools, arch: Arch, tmp_path: Path
) -> None:
    """With every device a guest gets, firmware included; QEMU quits before the guest runs."""
    qemu, raw = toolbox("qemu"), tmp_path / "disk.raw"
    raw.write_bytes(bytes(MIB))
    spec = machine.layout(
        arch, raw, tmp_path, GuestOptions(memory=128), accel=accel.tcg(arch, "a test"),
        console=tmp_path / "console.log", toolbox=qemu,
    )  # fmt: skip
    program, *arguments = qemu_argv(spec)
    with pytest.raises(ToolError) as caught:
        qemu.run(program, *arguments, "-device", "nonsense", timeout=60)
    assert "'nonsense' is not a valid device model name" in str(caught.value)
    out = qemu.run(
        arch.qemu.program,
        *("-M", arch.qemu.machine, "-cpu", arch.qemu.cpu, "-accel", arch.qemu.accel),
        *("-m", "128", "-nographic", "-nodefaults", "-serial", "none"),
        *("-L", qemu.path("usr/share/qemu"), "-L", qemu.path("usr/share/seabios")),
        *("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"),
        *("-device", "virtio-serial-pci", "-device", "virtio-rng-pci"),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_firmware(qemu, arch)}"),
        *("-qmp", "stdio", "-S"),
        input=b'{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n',
        timeout=60,
    )
    assert b'"SHUTDOWN"' in out or b'{"return": {}}' in out


def _firmware(qemu: Toolbox, arch: Arch) -> Path:
    assert qemu.path(arch.qemu.firmware_vars).stat().st_size > 0
    return qemu.path(arch.qemu.firmware_code)


def test_qemu_img_makes_an_overlay(toolbox: Tools, tmp_path: Path) -> None:
    qemu = toolbox("qemu")
    qemu.run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "x.qcow2", "4G", timeout=30)
    info = json.loads(
        qemu.run("qemu-img", "info", "--output=json", tmp_path / "x.qcow2", timeout=30)
    )
    assert info["virtual-size"] == 4 << 30


def test_go_compiles_out_of_the_tree(toolbox: Tools, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text('package main\n\nfunc main() { println("built") }\n')
    env = {"GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-mod=mod", "GOARCH": "arm", "GOARM": "7"}
    env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GO111MODULE": "off", "GOPROXY": "off"}
    go = toolbox("go")
    go.run("go", "build", "-o", tmp_path / "out", "main.go", cwd=tmp_path, env=env, timeout=600)
    header = (tmp_path / "out").read_bytes()[:20]
    assert header[:5] == b"\x7fELF\x01"
    assert struct.unpack_from("<H", header, 18) == (40,)  # EM_ARM


def test_a_program_that_is_not_there_is_named(toolbox: Tools) -> None:
    with pytest.raises(ToolError, match="no program gparted"):
        toolbox("pack").argv("gparted")
