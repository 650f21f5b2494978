"""A gateway maker's project: its own board with its own boot loader, and its own kernel.

The kernel is Debian's for ARM64 under a vendor's name, as a package and as files. Both give the
same root and the same UKI, which are read back by pefile and mtools.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pefile
import pytest
from edgeimg import fetch
from edgeimg.arch import ARCHITECTURES, ARM64, Arch
from edgeimg.build import kernels
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb, vendor_kernel
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.errors import ArchitectureError
from edgeimg.fetch import mirrors
from edgeimg.image import raw
from edgeimg.lock.file import write_lock
from edgeimg.lock.model import Lock
from edgeimg.pack import disk, fat, uki
from edgeimg.recipe.file import load
from edgeimg.resolve import builtin_parts
from edgeimg.resolve.requests import digest, image_requests
from edgeimg.sources import deb
from edgeimg.sources.archive import ar_members
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree

from tests.integration.failing import assert_one_error
from tests.samples import ar, member, tar

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]
SECONDS = 500.0
NAME = "gateway_0.1.0_arm64_imx8-gateway"
RECIPE = """\
include = ["edgeimg:gateway"]
[image]
architectures = ["arm64"]
compression = "none"
[k3s]
source = "none"
[kernel]
"""
BOARD = """\
[board]
name = "imx8-gateway"
arch = "arm64"
files = "boards/imx8"
config = "u-boot.config"
consoles = ["ttymxc1,115200"]
watchdog = 60

[board.raw]
"32 KiB" = "imx-boot.bin"

[board.esp]
"dtb/board.dtb" = "usr/lib/linux-image-*/freescale/imx8mp-evk.dtb"
"""
LOADER = bytes(range(1, 251)) * 4000
CONFIG = "CONFIG_ARM64=y\nCONFIG_FAT_RENAME=y\n"
CONTROL = """\
Package: linux-image-imx8
Version: 6.12-lts1
Architecture: arm64
Maintainer: A Vendor <kernel@vendor.example>
Description: kernel of the gateway
"""


@dataclass
class Maker:
    """The project of a gateway maker."""

    root: Path
    lock: Lock
    store: Store
    linux: Kernel
    """Debian's, which has the vendor's name here."""

    def edgeimg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in the project."""
        program = [sys.executable, "-c", "from edgeimg.cli import main; main()", *arguments]
        options = ["-r", "recipes/gateway.toml", "--board", "boards/imx8.toml"]
        return subprocess.run(
            [*program, *options], cwd=self.root, capture_output=True, text=True, check=False,
            timeout=SECONDS, env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip

    def build(self, kernel: str) -> dict[str, Any]:
        """Lock the kernel (a line of the recipe), build the board's image; its manifest."""
        (self.root / "recipes/gateway.toml").write_text(RECIPE + kernel)
        source = load(self.root / "recipes/gateway.toml", str(self.root / "boards/imx8.toml"))
        requests = image_requests(source.recipe.for_arch(ARM64), ARM64)
        image = self.lock.images["arm64"]
        groups = {name: rows for name, rows in image.groups.items() if name in requests}
        pins = kernels.pins(source, [ARM64], self.store)
        image = replace(image, groups=groups, k3s=None, kernel=pins["arm64"])
        lock = replace(
            self.lock, recipe_digest=digest(source.recipe), images={"arm64": image},
            builtin=builtin_parts.parts_of(source),
        )  # fmt: skip
        write_lock(lock, source.lock_path)
        done = self.edgeimg("build", "-a", "arm64", "-o", "out")
        assert done.returncode == 0, done.stderr
        manifest = json.loads((self.root / f"out/{NAME}/{NAME}.manifest.json").read_text())
        assert isinstance(manifest, dict)
        return manifest


@pytest.fixture(scope="module")
def maker(cache: Store, default_lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    root = tmp_path_factory.mktemp("maker")
    packages = default_lock.images["arm64"].packages()
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
    (row,) = default_lock.images["arm64"].groups["kernel"]
    blob = cache.blob(row.sha256)
    package = deb.read(blob, row.sha256, store=cache, origin="package:linux")
    for directory in ("recipes", "boards/imx8", "vendor"):
        (root / directory).mkdir(parents=True)
    (root / "boards/imx8.toml").write_text(BOARD)
    (root / "boards/imx8/imx-boot.bin").write_bytes(LOADER)
    (root / "boards/imx8/u-boot.config").write_text(CONFIG)
    _as_package(blob, root / "vendor/linux-image-imx8_arm64.deb")
    _as_files(package.tree, root / "vendor/kernel")
    return Maker(root=root, lock=default_lock, store=cache, linux=kernel_deb.from_deb(package))


def _as_package(debian: Path, vendors: Path) -> None:
    """Debian's files with a vendor's control file."""
    with debian.open("rb") as source:
        (data,) = (one for one in ar_members(source, "kernel") if one.name.startswith("data"))
        source.seek(data.offset)
        files = source.read(data.size)
    control = lzma.compress(tar([member("./control", CONTROL.encode())]))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": control, data.name: files}
    vendors.write_bytes(ar(parts))


def _as_files(tree: Tree, directory: Path) -> None:
    """As `make modules_install INSTALL_MOD_PATH=` leaves it: `lib`, and a link to the sources."""
    tree.without(lambda path, _: path.startswith("usr/share")).extract(directory)
    (directory / "usr/lib/modules").rename(directory / "modules")
    (directory / "lib").mkdir()
    (directory / "modules").rename(directory / "lib/modules")
    (version,) = (directory / "lib/modules").iterdir()
    (version / "build").symlink_to("/home/vendor/linux")
    for index in version.glob("modules.*"):  # what depmod makes, edgeimg makes itself
        if index.name not in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            index.unlink()


def test_a_board_and_a_kernel_of_ones_own_build(
    maker: Maker, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    as_package = maker.build('deb = "vendor/linux-image-imx8_{arch}.deb"\n')
    assert as_package["kernel"] == maker.linux.version
    assert as_package["kernel_config"]["EFI_STUB"] == "y"
    assert as_package["disk"]["head"]["first"] == 4 << 20
    assert not [row for row in as_package["packages"] if row["name"].startswith("linux-image")]
    _read_back(maker, toolbox("pack"), tmp_path)

    bill = maker.edgeimg("sbom", "-a", "arm64")
    assert bill.returncode == 0, bill.stderr
    rows = [
        row for row in json.loads(bill.stdout)["components"] if row["name"] == "linux-image-imx8"
    ]
    assert [(row["version"], row["purl"]) for row in rows] == [
        ("6.12-lts1", "pkg:generic/linux-image-imx8@6.12-lts1?arch=arm64")
    ]

    as_files = maker.build('files = "vendor/kernel"\n')
    assert as_files["root_hash"] == as_package["root_hash"]
    assert as_files["sizes"] == as_package["sizes"]

    (maker.root / f"vendor/kernel/boot/config-{maker.linux.version}").write_text("CONFIG_NET=y\n")
    changed = maker.edgeimg("build", "-a", "arm64", "-o", "out")
    assert_one_error(
        changed, 6, r"vendor/kernel has the sha256 \S+, locked is \S+\n  hint: take the"
    )


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_real_kernels_are_what_is_expected_of_a_vendors(
    arch: Arch, cache: Store, default_lock: Lock
) -> None:
    rows = default_lock.images[arch.name].groups["kernel"]
    downloads = fetch.package_downloads(rows, mirrors.from_host(os.environ))
    fetch.fetch(downloads, cache, offline=False)
    (row,) = rows
    found = vendor_kernel.find("deb", "linux.deb", cache.blob(row.sha256))
    kernel = vendor_kernel.read(found, arch, cache)
    assert row.name == f"linux-image-{kernel.version}"
    assert kernel.options["EFI_STUB"] == "y"
    for other in ARCHITECTURES:
        if other != arch:
            with pytest.raises(ArchitectureError, match=f"package for {arch.debian}, the image is"):
                vendor_kernel.read(found, other, cache)


def _read_back(maker: Maker, tools: Toolbox, work: Path) -> None:
    """The boot loader, the device tree and the kernel are in the image, byte for byte."""
    image = work / "disk.raw"
    raw.unpack(maker.root / f"out/{NAME}/{NAME}.raw.zst", image)
    with image.open("rb") as file:
        file.seek(32 << 10)
        assert file.read(len(LOADER)) == LOADER
    esp = disk.read(image, toolbox=tools)["esp"]
    place: dict[str, Any] = {"offset": esp.start, "size": esp.size, "toolbox": tools}
    tree = work / "board.dtb"
    fat.extract(image, "dtb/board.dtb", tree, **place)
    assert tree.read_bytes()[:4] == b"\xd0\x0d\xfe\xed"
    (entry,) = fat.names(image, "EFI/Linux", **place)
    program = work / "uki.efi"
    fat.extract(image, f"EFI/Linux/{entry}", program, **place)
    assert uki.read(program).uname == maker.linux.version
    with pefile.PE(str(program), fast_load=True) as pe:
        (linux,) = (one for one in pe.sections if one.Name.rstrip(b"\0") == b".linux")
        data = linux.get_data()[: linux.Misc_VirtualSize]
    (node,) = (n for path, n in maker.linux.package.items() if path.startswith("boot/vmlinuz"))
    assert data == node.read()
