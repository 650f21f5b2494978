"""The default gateway on NVMe with sectors of 4096 bytes, as `edgeimg flash` lays it out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from edgeimg.arch import X86_64
from edgeimg.flash import sectors
from edgeimg.image import blockmap
from edgeimg.tools import Toolbox

from tests.console import Switch, switched
from tests.gateway import PROJECT, built

SECTOR = 4096
NVME = f"nvme,serial=edgeimg,logical_block_size={SECTOR},physical_block_size={SECTOR},bootindex=0"

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_LARGE_SECTORS") != "1",
        reason="asked for with EDGEIMG_TEST_LARGE_SECTORS=1: ten minutes",
    ),
]


@pytest.fixture(scope="module")
def power(
    toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Switch]:
    image = built(PROJECT, X86_64, "-o", "out/test")
    work = tmp_path_factory.mktemp("gateway")
    blocks = blockmap.read(blockmap.beside(image))
    large = sectors.lay_out(image, blocks, work, sector=SECTOR, toolbox=toolbox("pack"))
    with switched(large.path, work, toolbox=toolbox("qemu"), disk=NVME, network=True) as switch:
        yield switch


def test_it_starts_grows_and_is_blessed(power: Switch) -> None:
    gateway = power.on()
    assert gateway.run("cat /sys/block/nvme0n1/queue/logical_block_size").strip() == str(SECTOR)
    gateway.until("systemctl is-active var.mount")
    assert int(gateway.run("df -k /var | awk 'END { print $2 }'")) > 2 << 20  # KiB: it grew
    gateway.until("kubectl get nodes | grep -w Ready", 1200)
    # The boot loader's file loses its counter, which is a rename on the FAT.
    gateway.until("systemctl is-active systemd-bless-boot.service", 600)
    names = gateway.run("ls /boot/EFI/Linux")
    assert "gateway_0.1.0.efi" in names


def test_it_is_reset_and_starts_blank(power: Switch) -> None:
    gateway = power.on()
    gateway.run("echo kept > /var/lib/edgeimg/mark; sync")
    gateway.forget()
    gateway.type("edgeimg-reset --yes\n")
    gateway.wait_for("erasing all data: edgeimg-reset was run")
    gateway.wait_for_shell()
    assert gateway.attempt("cat /var/lib/edgeimg/mark")[0] != 0
    gateway.until("systemctl is-active var.mount")
