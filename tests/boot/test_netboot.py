"""The installer from a CD and over the network installs unattended on disks of several kinds.

EDGEIMG_TEST_INSTALLER_ARCH=arm64 does it with ARM64, where QEMU has no SATA.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import X86_64, find_arch
from edgeimg.release.layout import SUMS
from edgeimg.tools import Toolbox
from edgeimg.trust import keys, signatures

from tests import netboot
from tests.console import Console, powered
from tests.gateway import PROJECT, built, edgeimg
from tests.integration.signing import gpg_home, make_key

RULES = """\
image = "images"
countdown = 5
after = "poweroff"
[disk]
only_internal = true
"""
ARCH = find_arch(os.environ.get("EDGEIMG_TEST_INSTALLER_ARCH", "x86-64"))
FROM_A_SERVER = f"""\
release = "http://{netboot.HOST}/release"
key = "key.asc"
report = "http://{netboot.HOST}/ledgers"
"""
INSTALLED = rf"installed: gateway_0\.1\.0_{ARCH.name}"
SERIAL = "serial=DISK-1"
NVME = f"nvme,{SERIAL}"
SATA = f"ide-hd,{SERIAL},bus=ide.1"
VIRTIO = f"virtio-blk-pci,{SERIAL}"
USB = ("-device", "qemu-xhci,id=usb")
PXE = "opt/org.tianocore/IPv{}PXESupport"
IPV6 = ("-fw_cfg", "name=opt/org.tianocore/IPv6Support,string=n")

IS_ASKED_FOR = os.environ.get("EDGEIMG_TEST_NETBOOT") == "1"
pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        not IS_ASKED_FOR,
        reason="asked for with EDGEIMG_TEST_NETBOOT=1: half an hour",
    ),
]
needs_network = pytest.mark.skipif(
    IS_ASKED_FOR and not netboot.is_possible(), reason="needs root, /dev/net/tun and dnsmasq"
)
Network = contextlib.AbstractContextManager[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Media:
    """The default image, and the tools that run it."""

    folder: Path
    image: Path
    qemu: Toolbox

    def make(self, name: str, *options: str | Path, rules: str = RULES) -> Path:
        """The installer in the form that its name says."""
        (self.folder / "rules.toml").write_text(rules)
        output = PROJECT / "out/test" / name
        output.unlink(missing_ok=True)
        edgeimg(
            PROJECT, "installer", "--arch", ARCH.name, "--rules", self.folder / "rules.toml",
            *options, "--output", output,
        )  # fmt: skip
        return output

    @functools.cached_property
    def iso(self) -> Path:
        """A CD with the image."""
        return self.make("installer.iso", "--image", self.image)


@pytest.fixture(scope="module")
def media(toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory) -> Media:
    image = built(PROJECT, ARCH, "-o", "out/test")
    return Media(folder=tmp_path_factory.mktemp("media"), image=image, qemu=toolbox("qemu"))


def drive(path: Path, device: str) -> list[str]:
    """QEMU's options for a blank disk of 4 GiB, or for what is on it already."""
    with path.open("ab") as file:
        file.truncate(4 << 30)
    image = f"if=none,id=internal,format=raw,file={path}"
    return ["-drive", image, "-device", f"{device},drive=internal"]


@contextlib.contextmanager
def machine(
    media: Media, work: Path, device: str, more: Sequence[str], *, memory: int = 768
) -> Iterator[Console]:
    """A machine with one internal disk that starts from the options `more`."""
    (work / "starter").mkdir()
    (work / "blank").touch()
    os.truncate(work / "blank", 1 << 20)
    beside = [*USB, *drive(work / "internal", device), *more]
    with powered(
        work / "blank", work / "starter", toolbox=media.qemu, arch=ARCH, memory=memory,
        disk="usb-storage,bus=usb.0,removable=on", more=beside,
    ) as console:  # fmt: skip
        yield console


def installs_and_starts(
    media: Media, work: Path, device: str, more: Sequence[str], *, memory: int = 768
) -> None:
    """Unattended; then the gateway starts from its disk alone."""
    with machine(media, work, device, more, memory=memory) as console:
        console.wait_for("writing in 5 s", 900)
        said = console.wait_for(INSTALLED, 1200)
        assert "is not written to" not in said
        console.wait_for_power_off(300)
    (work / "gateway").mkdir()
    target = device.replace(",bus=ide.1", "")
    with powered(
        work / "internal", work / "gateway", toolbox=media.qemu, arch=ARCH,
        disk=f"{target},bootindex=0", network=True,
    ) as console:  # fmt: skip
        console.wait_for_shell(600)
        assert "gateway 0.1.0, slot A" in console.run("edgeimg-status", 300)


def drive_with(image: Path, device: str, access: str = "readonly=on") -> list[str]:
    return ["-drive", f"if=none,id=cd,format=raw,{access},file={image}", "-device", device]


@pytest.mark.skipif(ARCH is not X86_64, reason="no SATA")
def test_cd_on_sata(media: Media, tmp_path: Path) -> None:
    options = drive_with(media.iso, "ide-cd,bus=ide.0,drive=cd,bootindex=0")
    installs_and_starts(media, tmp_path, VIRTIO, options)


def test_cd_on_usb(media: Media, tmp_path: Path) -> None:
    bridge = ["-device", "usb-bot,bus=usb.0,id=bridge"]
    options = [*bridge, *drive_with(media.iso, "scsi-cd,bus=bridge.0,drive=cd,bootindex=0")]
    installs_and_starts(media, tmp_path, SATA if ARCH is X86_64 else VIRTIO, options)


def test_iso_on_a_stick(media: Media, tmp_path: Path) -> None:
    device = "usb-storage,bus=usb.0,drive=cd,removable=on,bootindex=0"
    options = drive_with(media.iso, device, "snapshot=on")
    installs_and_starts(media, tmp_path, NVME, options)


def network(served: Path, title: str, kernel: Path, *, pxe: str) -> Network:
    """The network of the documentation with a kernel image; QEMU's options of a card there."""
    served.mkdir(exist_ok=True)
    (served / "installer.efi").hardlink_to(kernel)
    kernel.chmod(0o644)  # dnsmasq serves what everybody may read
    # The firmware tries PXE before HTTP boot, a minute for each kind of address.
    kinds = [f"name={PXE.format(4)},string={pxe}", f"name={PXE.format(6)},string=n"]
    words = [*IPV6, *(word for kind in kinds for word in ("-fw_cfg", kind))]
    return netboot.network(served, title, *words)


@needs_network
def test_pxe_with_the_image_inside(media: Media, tmp_path: Path) -> None:
    kernel = media.make("installer.efi", "--image", media.image)
    with network(tmp_path / "served", "/etc/dnsmasq.d/pxe.conf", kernel, pxe="y") as options:
        installs_and_starts(media, tmp_path, VIRTIO, options, memory=1024)


@needs_network
def test_http_boot_with_a_release_and_a_report(media: Media, tmp_path: Path) -> None:
    served = tmp_path / "served"
    shutil.copytree(media.image.parent, served / "release")
    rules = RULES.replace('image = "images"', FROM_A_SERVER)
    with gpg_home() as home:
        key = make_key(home)
        (tmp_path / "releases.asc").write_bytes(keys.export(key))
        signatures.sign(served / "release" / SUMS, key)
    kernel = media.make("small.efi", "--key", tmp_path / "releases.asc", rules=rules)
    with network(served, "/etc/dnsmasq.d/http-boot.conf", kernel, pxe="n") as options:
        installs_and_starts(media, tmp_path, NVME, options)
    (ledger,) = (served / "ledgers").iterdir()
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(one["serial"], one["result"]) for one in entries] == [
        ("DISK-1", "started"), ("DISK-1", "ok"),
    ]  # fmt: skip
