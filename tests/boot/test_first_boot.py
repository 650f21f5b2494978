"""The data partition on the first boot: when it takes minutes, and when it cannot be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests.console import powered
from tests.gateway import PROJECT, built

pytestmark = pytest.mark.boot
SLOW = 120
"""Seconds until the data partition is mounted; systemd waits 90 for a device by default."""
WRITES = 24_000_000
"""Bytes a second that the slow disk writes. systemd-repart clears 3.4 GB, and QEMU counts that."""


@pytest.fixture(scope="module")
def raw(cache) -> Path:
    return raw_image(built(PROJECT, X86_64, "-o", "out/test"), cache)


def test_a_slow_disk_is_no_damaged_one(
    raw: Path, tmp_path: Path, toolbox: Callable[[str], Toolbox]
) -> None:
    slow = f"throttling.bps-write={WRITES}"
    with powered(raw, tmp_path, toolbox=toolbox("qemu"), drive=slow) as gateway:
        gateway.wait_for_shell(900)
        seconds = gateway.run("systemctl show -P ActiveEnterTimestampMonotonic var.mount | cat")
        # Slow enough to be a test.
        assert int(seconds) > SLOW * 1_000_000
        assert gateway.run("systemctl is-active var.mount").strip() == "active"
        assert "CANNOT START" not in gateway.said()


def test_a_partition_that_cannot_be_made_is_reported_at_once(
    raw: Path, tmp_path: Path, toolbox: Callable[[str], Toolbox]
) -> None:
    with powered(raw, tmp_path, toolbox=toolbox("qemu"), drive="readonly=on") as gateway:
        gateway.wait_for("THIS GATEWAY CANNOT START", 300)
        text = gateway.wait_for("flash its disk again", 60)
        assert "It has no data partition, and cannot make one" in text
        assert "failed: systemd-repart.service" in text
