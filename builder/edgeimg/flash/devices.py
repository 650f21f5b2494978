"""The disks of this machine, as a person would recognise them, and why one must not be written to.

Pure: turns the output of lsblk(8) into plain values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from edgeimg.image.partitions import LARGE_SECTOR, SECTOR
from edgeimg.text.json_text import JsonObject

COLUMNS = (
    "NAME", "PATH", "TYPE", "SIZE", "MODEL", "VENDOR", "SERIAL", "WWN", "TRAN", "RM", "HOTPLUG",
    "RO", "FSTYPE", "UUID", "LABEL", "PARTLABEL", "PTTYPE", "MOUNTPOINTS", "MAJ:MIN", "LOG-SEC",
)  # fmt: skip
"""Columns of lsblk. Without NAME it lists partitions beside their disks, not in them."""
_MEMBERS = {
    "LVM2_member": "a physical volume of LVM",
    "zfs_member": "a member of a ZFS pool",
    "crypto_LUKS": "an encrypted volume (LUKS)",
    "BitLocker": "an encrypted volume (BitLocker)",
    "swsuspend": "a hibernated system",
    "jbd": "the journal of a file system on another disk",
    "bcache": "a bcache device",
    "drbd": "a DRBD device",
    "VMFS_volume_member": "a member of a VMFS volume",
    "ceph_bluestore": "a Ceph OSD",
    "stratis": "a member of a Stratis pool",
}
"""Signatures of content that is in use by others, although no program has the disk open."""
_FLAT = ("disk", "loop")
"""Types of whole disks. All other types are on top of one."""
_MEMORY = ("/dev/ram", "/dev/zram")
_FIRMWARE = (
    (re.compile(r"/dev/mmcblk\d+boot\d+"), "a boot partition of an eMMC"),
    (re.compile(r"/dev/mtdblock\d+"), "a flash chip of the board (MTD)"),
)
"""Devices that the kernel shows as disks, and that hold the firmware of a board."""
_SECTORS = (SECTOR, LARGE_SECTOR)
"""Bytes of the sectors that a partition table can count in (UEFI, 5.3: logical blocks)."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One whole disk."""

    path: str
    size: int
    """Bytes; 0 when there is no medium."""
    model: str
    serial: str
    bus: str
    """`usb`, `mmc`, `nvme`, `sata`, …; empty when unknown."""
    removable: bool
    """Removable, such as a card or a stick; or a loop device of a file."""
    holds: tuple[str, ...]
    """File systems on it, with their labels."""
    dangers: tuple[str, ...]
    """Why it must not be written to, whatever somebody answers."""
    sector: int = SECTOR
    """Bytes of a logical sector."""
    number: str = ""
    """`major:minor`."""

    @property
    def name(self) -> str:
        """Vendor and model, as far as the disk reports them."""
        return self.model or "unnamed"

    def to_json(self) -> JsonObject:
        """Plain values, for `--json`."""
        return {**asdict(self), "eligible": not self.dangers}


def disks(lsblk: JsonObject) -> tuple[Device, ...]:
    """The whole disks in the document that `lsblk --json --bytes` prints, by path."""
    entries = lsblk["blockdevices"]
    shared = _shared(entries)
    devices = [_device(entry, shared) for entry in entries if entry.get("type") in _FLAT]
    return tuple(sorted(devices, key=lambda device: device.path))


def tangible(devices: Sequence[Device]) -> tuple[Device, ...]:
    """Without devices that are not disks for people: memory, and loop devices without a file.

    A reader without a card stays: one can be put in.
    """
    return tuple(
        device
        for device in devices
        if not device.path.startswith(_MEMORY)
        and (device.size or not device.path.startswith("/dev/loop"))
    )


def firmware(path: str) -> str:
    """What a device is when it holds the firmware of a board; empty for disks."""
    return next((what for pattern, what in _FIRMWARE if pattern.fullmatch(path)), "")


def disk_of(lsblk: JsonObject, path: str) -> str | None:
    """The whole disk below a device; None if the device is a whole disk itself."""
    for entry in lsblk["blockdevices"]:
        if any(below["path"] == path for below in _below(entry)):
            return str(entry["path"])
    return None


def _shared(entries: Sequence[JsonObject]) -> frozenset[str]:
    """Identifiers of btrfs file systems that are on more than one device."""
    places: dict[str, set[str]] = {}
    for entry in entries:
        for part in (entry, *_below(entry)):
            if _text(part, "fstype") == "btrfs":
                places.setdefault(_text(part, "uuid"), set()).add(str(part["path"]))
    return frozenset(uuid for uuid, paths in places.items() if uuid and len(paths) > 1)


def _device(entry: JsonObject, shared: frozenset[str]) -> Device:
    names = (_text(entry, "vendor"), _text(entry, "model"))
    model = " ".join(name for name in names if name and not name.startswith("0x"))
    entries = [entry, *_below(entry)]
    return Device(
        path=str(entry["path"]),
        size=int(entry.get("size") or 0),
        model=model,
        serial=_text(entry, "serial") or _text(entry, "wwn"),
        bus=_text(entry, "tran"),
        removable=bool(entry.get("rm") or entry.get("hotplug") or entry["type"] == "loop"),
        holds=tuple(dict.fromkeys(filter(None, map(_content, entries)))),
        dangers=tuple(
            dict.fromkeys(danger for part in entries for danger in _dangers(entry, part, shared))
        ),
        sector=int(entry.get("log-sec") or SECTOR),
        number=str(entry.get("maj:min") or "").strip(),
    )


def _below(entry: JsonObject) -> Iterator[JsonObject]:
    """Partitions, and the devices on top of them: mapped devices, arrays, volumes."""
    for child in entry.get("children") or ():
        yield child
        yield from _below(child)


def _dangers(disk: JsonObject, part: JsonObject, shared: frozenset[str]) -> Iterator[str]:
    path, kind = part["path"], part.get("type") or "?"
    for place in _mounts(part):
        if place == "[SWAP]":
            yield f"{path} is swap in use"
        elif place == "/":
            yield f"{path} holds the system that runs here (/)"
        else:
            yield f"{path} is mounted on {place}"
    fstype = _text(part, "fstype")
    if member := _member(fstype):
        yield f"{path} is {member}"
    elif fstype == "btrfs" and _text(part, "uuid") in shared:
        yield f"{path} is a part of a btrfs on several disks"
    if part is not disk and kind != "part":
        yield f"{path} ({kind}) stands on it"
    if part is disk and (what := firmware(str(path))):
        yield f"{path} is {what}: firmware is on it"
    if part is disk and part.get("ro"):
        yield f"{path} is write-protected"
    if part is disk and not int(part.get("size") or 0):
        yield f"{path} has no medium in it"
    sector = int(part.get("log-sec") or SECTOR)
    if part is disk and sector not in _SECTORS:
        yield f"{path} has sectors of {sector} bytes: images are for sectors of 512 or 4096 bytes"


def is_member(fstype: str) -> bool:
    """Whether the type of a file system marks a member of an array or a volume group."""
    return bool(_member(fstype))


def _member(fstype: str) -> str:
    if fstype.endswith("_raid_member"):
        return "a member of a RAID array"
    return _MEMBERS.get(fstype, "")


def _content(part: JsonObject) -> str:
    label = _text(part, "label") or _text(part, "partlabel")
    fstype = _text(part, "fstype")
    if not fstype:
        return f"partition {label!r}" if label else ""
    return f"{fstype} {label!r}" if label else fstype


def _mounts(part: JsonObject) -> Sequence[str]:
    return [place for place in part.get("mountpoints") or () if place]


def _text(entry: JsonObject, key: str) -> str:
    return str(entry.get(key) or "").strip()
