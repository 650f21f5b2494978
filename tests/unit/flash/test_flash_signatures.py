"""What is on a disk where udev does not tell."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from edgeimg.flash import devices, signatures


def test_only_what_lsblk_does_not_know_is_read() -> None:
    asked: list[str] = []
    held: dict[str, list[dict[str, Any]]] = {
        "/dev/sdb": [{"type": "gpt"}, {"type": "PMBR"}],
        "/dev/sdb2": [{"type": "ext4", "label": "data"}, {"type": "LVM2_member", "uuid": "1"}],
    }

    def read(path: str) -> list[dict[str, Any]]:
        asked.append(path)
        return held.get(path, [])

    told = {
        "blockdevices": [
            {
                "path": "/dev/sdb", "size": 1, "type": "disk", "children": [
                    {"path": "/dev/sdb1", "size": 1, "type": "part", "fstype": "vfat"},
                    {"path": "/dev/sdb2", "size": 1, "type": "part"},
                ],
            },
            {"path": "/dev/sdc", "size": 0, "type": "disk"},
        ]
    }  # fmt: skip
    full = signatures.complete(told, devices.is_member, read=read)
    assert sorted(asked) == ["/dev/sdb", "/dev/sdb2"]
    disk = devices.disks(full)[0]
    assert disk.dangers == ("/dev/sdb2 is a physical volume of LVM",)
    assert disk.holds == ("vfat", "LVM2_member")


def test_wipefs_is_understood(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"LUKS\xba\xbe\0\1".ljust(1 << 20, b"\0"))
    assert [one["type"] for one in signatures.read(str(disk))] == ["crypto_LUKS"]
    subprocess.run(["wipefs", "-qa", disk], check=True)
    assert not signatures.read(str(disk))
    assert not signatures.read(str(tmp_path / "none"))
