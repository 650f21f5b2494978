"""One gateway that updates itself, over HTTP from this machine: what it refuses, what it takes, and
how it comes back from a version that does not work.

EDGEIMG_TEST_UPDATES=all installs a version that does not work, too. EDGEIMG_TEST_UPDATE_ARCH=arm64
or arm does it with one of those, EDGEIMG_TEST_UPDATE_SECTOR=4096 on NVMe with such sectors,
EDGEIMG_TEST_UPDATE_BOARD=qemu-virt-uboot with U-Boot in place of UEFI: the image is the board's,
the updates are those of its architecture.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from edgeimg.arch import ARM, find_arch
from edgeimg.build import boards
from edgeimg.cache.store import Store
from edgeimg.flash import sectors
from edgeimg.image import blockmap
from edgeimg.image.manifest import Manifest
from edgeimg.image.partitions import SECTOR as SMALL
from edgeimg.recipe.file import load, shipped_boards
from edgeimg.release import artifacts, assemble
from edgeimg.release.assemble import rollback_index
from edgeimg.release.layout import SUMS, UPDATE_SUMS
from edgeimg.tools import Toolbox
from edgeimg.trust import keys, signatures
from edgeimg.trust.keys import Key
from edgeimg.ui import Ui
from edgeimg.vm.disk import raw_image

from tests import gateway as gateways
from tests.gateway import OPTIONS, Gateway, booted, built, edgeimg
from tests.integration.fileserver import FileServer
from tests.integration.signing import gpg_home, make_key

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
    pytest.mark.skipif(not shutil.which("gpg"), reason="no gpg: apt install gpg gpg-agent gpgv"),
]
BOARD = os.environ.get("EDGEIMG_TEST_UPDATE_BOARD", "")
ARCH = (
    find_arch(shipped_boards()[BOARD].arch)
    if BOARD
    else find_arch(os.environ.get("EDGEIMG_TEST_UPDATE_ARCH", "x86-64"))
)
SECTOR = int(os.environ.get("EDGEIMG_TEST_UPDATE_SECTOR", "512"))
NVME = f"nvme,serial=edgeimg,logical_block_size={SECTOR},physical_block_size={SECTOR}"
HOST = "10.0.2.2"
"""This machine, as a guest knows it (QEMU's user network)."""
PATIENCE = 900.0
RECIPE = """\
include = ["gateway.toml", "updates.toml"]

[image]
version = "{version}"
architectures = ["{arch}"]

[overlay]
paths = [{overlays}]

[update]
url = "http://{host}:{port}/gateway"
key = "releases.asc"
schedule = "Sun 03:00"
{more}
"""
INDEX = "rollback_index = 2"
WITHOUT_INIT = b"#!/usr/bin/false\n"
BROKEN = "[Service]\nExecStart=\nExecStart=false\nRestart=no\n"


@dataclass(frozen=True)
class Shop:
    """Makes versions, signs them, and serves one of them."""

    project: Path
    server: FileServer
    key: Key
    other: Key
    cache: Store
    pack: Toolbox

    def write(self, version: str, *overlays: str, more: str = "") -> None:
        """The recipe of a version; `more` is TOML for its [update]."""
        (self.project / "recipes/own.toml").write_text(
            RECIPE.format(
                version=version, arch=ARCH.name, host=HOST, port=self.server.url.rpartition(":")[2],
                overlays=", ".join(f'"{overlay}"' for overlay in overlays), more=more,
            )
        )  # fmt: skip

    def make(self, version: str, *overlays: str, more: str = "", board: str = "") -> Path:
        """The image of a version, for a board or without one."""
        self.write(version, *overlays, more=more)
        chosen = ("--board", board) if board else ()
        return built(self.project, ARCH, "-r", "recipes/own.toml", *chosen)

    def serve(self, image: Path, key: Key | None = None, *, without: str = SUMS) -> None:
        """Publish the update files of an image, signed with `key`; none that ends in `without`."""
        name = image.name.removesuffix(".raw.zst")
        manifest = Manifest.read(image.parent / f"{name}.manifest.json")
        place = image.parent / "update"
        if not place.exists():
            place.mkdir()
            raw = raw_image(image, self.cache)
            artifacts.split(raw, name, manifest, place, toolbox=self.pack)
            update = load(self.project / "recipes/own.toml").recipe.update
            for suffix, data in rollback_index(update).items():
                (place / f"{name}{suffix}").write_bytes(data)
        files = {
            path.name: path.read_bytes() for path in place.iterdir()
            if not path.name.endswith(without)
        }  # fmt: skip
        sums = "".join(
            f"{sha256(data).hexdigest()}  {path}\n"
            for path, data in sorted(files.items()) if not path.startswith(SUMS)
        )  # fmt: skip
        (place / SUMS).write_text(sums)
        (place / UPDATE_SUMS).write_bytes(assemble.update_sums(place, files))
        for listing in (place / SUMS, place / UPDATE_SUMS):
            for path in (listing, signatures.sign(listing, key or self.key)):
                files[path.name] = path.read_bytes()
        self.server.files = {f"/gateway/{path}": data for path, data in files.items()}
        self.server.faults.clear()


@pytest.fixture(scope="module")
def shop(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    project = tmp_path_factory.mktemp("updates")
    gateways.project(project)
    with gpg_home() as home, FileServer() as server:
        key, other = make_key(home), make_key(home, "Somebody")
        (project / "releases.asc").write_bytes(keys.export(key))
        shop = Shop(project, server, key, other, cache, toolbox("pack"))
        shutil.copy(project / "recipes/gateway.lock.toml", project / "recipes/own.lock.toml")
        shop.write("0.1.0")
        # Of the three indexes, only this one does not always match its signature.
        unsigned = ("--accept-unsigned-index", "arm") if ARCH is ARM else ()
        edgeimg(project, "lock", "-r", "recipes/own.toml", *unsigned)
        if BOARD:
            edgeimg(project, "lock", "-r", "recipes/own.toml", "--board", BOARD, *unsigned)
        broken = project / "overlays/broken/usr/lib/systemd/system/k3s.service.d/broken.conf"
        broken.parent.mkdir(parents=True)
        broken.write_text(BROKEN)
        init = project / "overlays/without-init/usr/lib/systemd/systemd"
        init.parent.mkdir(parents=True)
        init.write_bytes(WITHOUT_INIT)
        init.chmod(0o755)
        yield shop


@pytest.fixture(scope="module")
def gateway(
    shop: Shop, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Of version 0.1.0, until its K3s runs."""
    image = shop.make("0.1.0", board=BOARD)
    raw, options = raw_image(image, shop.cache), OPTIONS
    if BOARD:
        source = load(shop.project / "recipes/own.toml", board=BOARD)
        options = replace(
            options, board=boards.model(source, store=shop.cache, ui=Ui(verbosity=-1))
        )
    console = tmp_path_factory.mktemp("guest") / "console.log"
    if SECTOR != SMALL:
        blocks = blockmap.read(blockmap.beside(image))
        work = tmp_path_factory.mktemp("large")
        raw = sectors.lay_out(image, blocks, work, sector=SECTOR, toolbox=shop.pack).path
        options = replace(OPTIONS, disk=NVME)
    with booted(
        raw, shop.project / "key", toolbox=toolbox("qemu"), console=console, arch=ARCH,
        options=options,
    ) as running:  # fmt: skip
        if SECTOR != SMALL:
            size = running.run("cat /sys/block/nvme0n1/queue/logical_block_size")
            assert int(size) == SECTOR
        proven(running)
        yield running


def proven(gateway: Gateway) -> None:
    """Wait until the version that runs has shown that it works."""
    gateway.until("/usr/lib/systemd/systemd-bless-boot status | grep -x good", PATIENCE)


def runs(gateway: Gateway) -> str:
    """`0.1.0, slot A`."""
    return gateway.run(". /usr/lib/edgeimg/facts.sh; image").split(" ", 1)[1].strip()


def test_what_another_key_has_signed_is_not_taken(gateway: Gateway, shop: Shop) -> None:
    assert runs(gateway) == "0.1.0, slot A"
    shop.serve(shop.make("0.2.0", more=INDEX), shop.other)
    result = gateway.attempt("edgeimg-update install --restart", timeout=PATIENCE)
    assert result.returncode == 10
    assert "signed with a key that this image does not know" in result.stderr
    assert {"gateway_0.1.0", "_empty"} <= set(gateway.run("ls /dev/disk/by-partlabel").split())


def test_what_is_not_what_was_signed_is_not_taken(gateway: Gateway, shop: Shop) -> None:
    shop.serve(shop.make("0.2.0", more=INDEX))
    for path in list(shop.server.files):
        if path.endswith((".root.xz", ".pieces")):
            shop.server.files[path] = bytes(len(shop.server.files[path]))
    result = gateway.attempt("edgeimg-update install --restart", timeout=PATIENCE)
    assert result.returncode == 1
    assert "0.2.0 was not installed; 0.1.0 stays" in result.stderr
    assert "0.2.0" not in gateway.run("ls /boot/EFI/Linux")


def test_power_lost_in_the_middle(gateway: Gateway, shop: Shop) -> None:
    shop.serve(shop.make("0.2.0", more=INDEX))
    (path,) = [path for path in shop.server.files if path.endswith(".pieces")]
    shop.server.faults[path] = ["", "stall"]  # the first request asks for ranges
    shop.server.silence = 120
    gateway.run("systemd-run --unit=torn edgeimg-update install")
    gateway.until("pidof curl && ls /var/lib/edgeimg/update/delta/root", PATIENCE)
    gateway.run("sleep 20")
    lose_power(gateway)
    assert runs(gateway) == "0.1.0, slot A"
    assert "0.2.0" not in gateway.run("ls /boot/EFI/Linux")


def lose_power(gateway: Gateway) -> None:
    """What was not written is lost; what the gateway had in mind, too."""
    before = gateway.run("cat /proc/sys/kernel/random/boot_id").strip()
    gateway.run("(sleep 3; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    gateway.hang_up()
    time.sleep(5)
    gateway.until(f"! grep -q {before} /proc/sys/kernel/random/boot_id", PATIENCE, alone=True)


def test_a_new_version_is_installed_and_started(gateway: Gateway, shop: Shop) -> None:
    gateway.run("echo kept > /var/kept; sync /var/kept")
    shop.serve(shop.make("0.2.0", more=INDEX))
    assert "new:   0.2.0" in gateway.run("edgeimg-update", timeout=300)
    before = shop.server.sent
    told = gateway.run("edgeimg-update install", timeout=PATIENCE)
    assert "0.2.0 is installed, and starts with the next restart" in told
    assert "KiB are new" in told
    assert "transferred whole" not in told
    assert shop.server.sent - before < 4 << 20
    assert "waits: 0.2.0" in gateway.run("edgeimg-update", timeout=300)
    gateway.restart(PATIENCE)
    assert runs(gateway) == "0.2.0, slot B"
    assert gateway.run("cat /var/kept") == "kept\n"
    proven(gateway)
    gateway.until("edgeimg-status | grep Ready", PATIENCE)
    assert gateway.run("edgeimg-update").startswith(f"runs:  0.2.0\nnew:   none at http://{HOST}:")
    assert "nothing newer than 0.2.0" in gateway.run("edgeimg-update install")
    assert gateway.run("systemctl is-active edgeimg-update.timer") == "active\n"
    older = gateway.attempt("edgeimg-update install 0.1.0", timeout=300)
    assert older.returncode == 11
    assert "0.1.0 was not installed; 0.2.0 stays: it is older" in older.stderr
    assert "phase=failed" in gateway.run("cat /var/lib/edgeimg/update/state")


@pytest.mark.skipif(
    os.environ.get("EDGEIMG_TEST_UPDATES") != "all",
    reason="asked for with EDGEIMG_TEST_UPDATES=all",
)
def test_a_version_that_does_not_work_is_left(gateway: Gateway, shop: Shop) -> None:
    image = shop.make("0.3.0", "overlays/broken", more=f"trial = 3\n{INDEX}")
    shop.serve(image, without=".rollback")
    result = gateway.attempt("edgeimg-update install", timeout=PATIENCE)
    assert "it has no rollback index, and this gateway accepts 2 or more" in result.stderr
    shop.serve(image)
    gateway.run("edgeimg-update install", timeout=PATIENCE)
    gateway.until("ls /dev/disk/by-partlabel/gateway_0.3.0 /dev/disk/by-partlabel/gateway_0.2.0")
    gateway.restart(PATIENCE)
    assert runs(gateway) == "0.3.0, slot A"
    result = gateway.attempt("edgeimg-update install", timeout=300)
    assert "0.3.0 has not shown yet that it works" in result.stderr
    gateway.hang_up()
    gateway.until("grep -x IMAGE_VERSION=.*0.2.0.* /etc/os-release", PATIENCE, alone=True)
    assert runs(gateway) == "0.2.0, slot B"
    gateway.until("grep phase=failed /var/lib/edgeimg/update/state", PATIENCE)
    status = gateway.run("edgeimg-status")
    assert "update to 0.3.0 failed at" in status
    assert "failed: k3s.service" in status
    assert "k3s.service" in gateway.run("cat /var/lib/edgeimg/update/failed.log")
    assert "bad:   0.3.0" in gateway.run("edgeimg-update", timeout=300)
    assert "nothing newer" in gateway.run("edgeimg-update install --restart", timeout=300)


@pytest.mark.skipif(
    os.environ.get("EDGEIMG_TEST_UPDATES") != "all",
    reason="asked for with EDGEIMG_TEST_UPDATES=all",
)
def test_a_version_that_does_not_start_is_left_after_three_starts(
    gateway: Gateway, shop: Shop
) -> None:
    before = runs(gateway)
    shop.serve(shop.make("0.4.0", "overlays/without-init", more=INDEX))
    gateway.run("edgeimg-update install", timeout=PATIENCE)
    gateway.attempt("systemctl reboot")
    gateway.hang_up()
    gateway.until("true", PATIENCE, alone=True)
    assert runs(gateway) == before
    console = gateway.guest.console.read_text(errors="replace")
    assert console.count("Kernel panic") == 3
    assert "gateway_0.4.0+0-3.efi" in gateway.run("ls /boot/EFI/Linux")
    gateway.until("grep phase=failed /var/lib/edgeimg/update/state", PATIENCE)
    assert "update to 0.4.0 failed at" in gateway.run("edgeimg-status")
