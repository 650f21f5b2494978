"""What boards want of a GPT that sfdisk(8) does not do: entries elsewhere, and a hybrid MBR.

UEFI 2.10, 5.2.3 and 5.3: the header in sector 1 names the sector where the entries begin.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from edgeimg.image.partitions import SECTOR, DiskPlan, Partition

_USUAL = 2
_FAT32_LBA = 0x0C
_PROTECTIVE = 0xEE


def arrange(disk: Path, plan: DiskPlan) -> None:
    """Change the table of `disk`, as sfdisk wrote it, to what its board wants."""
    if plan.head is None:
        return
    with disk.open("r+b") as file:
        if plan.head.table != _USUAL:
            _move(file, plan.head.table)
        if plan.head.hybrid:
            file.seek(446)
            file.write(hybrid(plan.partitions[0]))


def _move(file: BinaryIO, sector: int) -> None:
    """Move the entries of the first table to `sector`; the copy at the end stays as it is."""
    file.seek(SECTOR)
    header = bytearray(file.read(SECTOR))
    (size,) = struct.unpack_from("<I", header, 12)
    old, count, each = struct.unpack_from("<QII", header, 72)
    file.seek(old * SECTOR)
    entries = file.read(count * each)
    file.seek(old * SECTOR)
    file.write(bytes(len(entries)))
    file.seek(sector * SECTOR)
    file.write(entries)
    struct.pack_into("<Q", header, 72, sector)
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header[:size]))
    file.seek(SECTOR)
    file.write(header)


def hybrid(part: Partition) -> bytes:
    """The four entries of an MBR that names `part` as FAT, and protects the table before it."""
    start, size = part.start // SECTOR, part.size // SECTOR
    rows = [(_FAT32_LBA, start, size), (_PROTECTIVE, 1, start - 1)]
    # Addresses by cylinder, head and sector are beyond what they can say.
    packed = [
        struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", first, length)
        for kind, first, length in rows
    ]
    return b"".join(packed).ljust(64, b"\0")
