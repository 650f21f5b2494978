"""The partitions of a disk as plain values, and the sfdisk(8) script that makes them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeimg.errors import ImageError

SECTOR = 512
"""Bytes of the sectors that an image counts in."""
LARGE_SECTOR = 4096
"""Bytes of the sectors of disks that images are laid out anew for."""
ALIGNMENT = 1 << 20
_FIRST_USABLE = 34
"""The sector after the usual table. A later one invites Windows to move the entries there."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition; start and size are bytes from the beginning of the disk."""

    name: str
    """edgeimg's name for it: `esp`, `root-a`, `root-a-verity`, …"""
    label: str
    type: str
    uuid: str
    start: int
    size: int
    attributes: str = ""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is before the first partition of a board's disk."""

    board: str
    first: int
    """Byte where the first partition starts."""
    entries: int
    """How many the partition table has."""
    table: int
    """Sector where they begin."""
    hybrid: bool
    """The MBR names the first partition, too."""


@dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """A disk as it will be."""

    uuid: str
    size: int
    partitions: tuple[Partition, ...]
    head: Head | None = None
    """None: as every disk with UEFI has it."""

    def __getitem__(self, name: str) -> Partition:
        for part in self.partitions:
            if part.name == name:
                return part
        raise ImageError(f"the disk has no partition {name}")

    def script(self) -> str:
        """The partition table in the input format of sfdisk(8)."""
        lines = [
            "label: gpt",
            f"label-id: {self.uuid}",
            "unit: sectors",
            f"sector-size: {SECTOR}",
            # systemd-repart discards what is usable and in no partition: not the boot loader.
            f"first-lba: {self.head.first // SECTOR if self.head else _FIRST_USABLE}",
            *([f"table-length: {self.head.entries}"] if self.head else []),
            "",
        ]
        for part in self.partitions:
            attributes = f', attrs="{part.attributes}"' if part.attributes else ""
            lines.append(
                f"start={part.start // SECTOR}, size={part.size // SECTOR}, type={part.type}, "
                f'uuid={part.uuid}, name="{part.label}"{attributes}'
            )
        return "\n".join(lines) + "\n"
