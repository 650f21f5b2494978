"""The firmware's boot entries, written by efibootmgr(8) into variables that are files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import X86_64
from edgeimg.errors import HostError
from edgeimg.flash.devices import Device
from edgeimg.install import boot_entry

from tests.integration import bad_disks
from tests.loop_devices import insert, readers

pytestmark = [
    pytest.mark.integration,
    bad_disks.needs_loop,
    pytest.mark.skipif(
        not shutil.which("efibootmgr"), reason="no efibootmgr: apt install efibootmgr"
    ),
]
VENDOR = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""EFI_GLOBAL_VARIABLE."""
TABLE = b"""\
label: gpt
size=16MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=11111111-2222-3333-4444-555555555555
"""


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "efivars"
    folder.mkdir()
    (folder / f"Lang-{VENDOR}").write_bytes(b"\7\0\0\0en")
    monkeypatch.setenv("EFIVARFS_PATH", f"{folder}/")
    monkeypatch.setenv("LIBEFIVAR_OPS", "efivarfs")
    return folder


@contextlib.contextmanager
def disk(tmp_path: Path, tiny: Any) -> Iterator[Device]:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    tiny.pack.run("sfdisk", "--quiet", str(image), input=TABLE, timeout=60)
    with readers(1) as (slot,):
        insert(slot, image)
        yield Device(
            path=str(slot), size=32 << 20, model="", serial="S1", bus="nvme", removable=False,
            holds=(), dangers=(),
        )  # fmt: skip


def entries(variables: Path) -> dict[str, bytes]:
    return {
        path.name.partition("-")[0]: path.read_bytes()[4:] for path in variables.glob("Boot*")
    }  # fmt: skip


def test_it_is_the_next_one_and_replaces_its_own(
    variables: Path, tmp_path: Path, tiny: Any
) -> None:
    assert boot_entry.is_possible()
    with disk(tmp_path, tiny) as device:
        boot_entry.start_next(replace(device, serial="S2"), X86_64)
        assert int.from_bytes(entries(variables)["BootNext"], "little") == 0
        for _ in range(2):
            boot_entry.start_next(device, X86_64)
    found = entries(variables)
    assert set(found) == {"Boot0000", "Boot0001", "BootNext"}
    assert int.from_bytes(found["BootNext"], "little") == 1
    assert "edgeimg S1\0".encode("utf-16-le") in found["Boot0001"]
    assert "edgeimg S2\0".encode("utf-16-le") in found["Boot0000"]
    # The first partition of the disk, by its UUID; then the file (UEFI 2.10, 10.3.5.1, 10.3.5.4).
    node = b"\4\1\x2a\0\1\0\0\0" + (2048).to_bytes(8, "little") + (32768).to_bytes(8, "little")
    uuid = bytes.fromhex("11111111222233334444555555555555")
    node += b"\x11" * 4 + uuid[4:6][::-1] + uuid[6:8][::-1] + uuid[8:] + b"\2\2"
    assert node in found["Boot0001"]
    assert "\\EFI\\BOOT\\BOOTX64.EFI\0".encode("utf-16-le") in found["Boot0001"]


def test_without_variables_it_is_not_possible(
    variables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (variables / f"Lang-{VENDOR}").unlink()
    assert not boot_entry.is_possible()
    monkeypatch.setenv("EFIVARFS_PATH", str(tmp_path / "none"))
    assert not boot_entry.is_possible()


def test_a_missing_program_is_named(
    variables: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk(tmp_path, tiny) as device, monkeypatch.context() as context:
        context.setenv("PATH", str(tmp_path))
        with pytest.raises(HostError, match="there is no efibootmgr"):
            boot_entry.start_next(device, X86_64)
    assert entries(variables) == {}
