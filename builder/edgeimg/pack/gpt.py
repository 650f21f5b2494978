"""What sfdisk(8) does not do with a GPT: entries elsewhere, a hybrid MBR, and other sectors.

UEFI 2.10, 5.2.3 and 5.3: the header in sector 1 names the sector where the entries begin. All
places count in sectors of the disk.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ImageError
from edgeimg.image.partitions import SECTOR, DiskPlan, Partition

_USUAL = 2
_FAT32_LBA = 0x0C
_PROTECTIVE = 0xEE
_ENTRIES = 128 * 128
"""Bytes of the entries of an image without a board."""
_MOST_ENTRIES = 1 << 20
"""Bytes of the entries that are read."""
BOOT_LOADER = "its ROM reads a boot loader before the first partition"
"""Why an image cannot be laid out for other sectors. A changed table makes room for the loader."""
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_MBR = 446


def arrange(disk: Path, plan: DiskPlan) -> None:
    """Change the table of `disk`, as sfdisk wrote it, to what its board wants."""
    if plan.head is None:
        return
    with disk.open("r+b") as file:
        if plan.head.table != _USUAL:
            _move(file, plan.head.table)
        if plan.head.hybrid:
            file.seek(_MBR)
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


def verify(image: Path, *, name: str) -> None:
    """Check both partition tables of an image, called `name` in errors, and that they agree.

    Firmware and sfdisk(8) read the good one when the other is damaged; the exit status of sfdisk,
    also with --verify, is 0. Raises ImageError.
    """
    with image.open("rb") as file:
        last = file.seek(0, os.SEEK_END) // SECTOR - 1
        tables = [_read(file, 1, last), _read(file, last, 1)]
    for title, table in zip(("first", "second"), tables, strict=True):
        if table is None:
            raise ImageError(
                f"{name} is damaged: its {title} partition table does not match its checksums",
                hint="build or download the image again",
            )
    if tables[0] != tables[1]:
        raise ImageError(f"{name} is damaged: its two partition tables differ")


def _read(file: BinaryIO, place: int, other: int) -> tuple[object, ...] | None:
    """What the table whose header is in sector `place` says; None when it is damaged."""
    file.seek(place * SECTOR)
    sector = file.read(SECTOR)
    if len(sector) < SECTOR:
        return None
    (magic, _, size, crc, _, here, copy, first, last, guid, start, count, each, entries_crc) = (
        _HEADER.unpack_from(sector)
    )
    if magic != b"EFI PART" or not _HEADER.size <= size <= SECTOR or (here, copy) != (place, other):
        return None
    if zlib.crc32(sector[:16] + bytes(4) + sector[20:size]) != crc or count * each > _MOST_ENTRIES:
        return None
    file.seek(start * SECTOR)
    entries = file.read(count * each)
    if len(entries) < count * each or zlib.crc32(entries) != entries_crc:
        return None
    return first, last, guid, each, entries


def table_size(sector: int) -> int:
    """Bytes of protective MBR, header and 128 entries on a disk with sectors of `sector` bytes.

    The copy at the end of the disk lacks the MBR.
    """
    return 2 * sector + _ENTRIES


def tables(head: bytes, size: int, sector: int) -> tuple[bytes, bytes]:
    """The tables of an image, counted in sectors of `sector` bytes: of the beginning, of the end.

    `head` are the image's bytes before its first partition, `table_size(sector)` suffice; `size`
    are the bytes of the image. All partitions stay at their bytes. Raises ImageError for a table
    that a board changed, for one that does not fit before the first partition, and for partitions
    that are not at multiples of `sector`.
    """
    if len(head) < table_size(sector):
        raise ImageError(
            f"the first partition begins at byte {len(head)}: a partition table for sectors of "
            f"{sector} bytes takes {table_size(sector)}"
        )
    (magic, revision, _, _, _, _, _, first, _, guid, place, count, each, _) = _HEADER.unpack_from(
        head, SECTOR
    )
    if magic != b"EFI PART":
        raise ImageError("the image has no GPT partition table")
    if (place, count, each) != (_USUAL, 128, 128):
        raise board(BOOT_LOADER, sector)
    if head[_MBR + 4] != _PROTECTIVE or any(head[_MBR + 16 : _MBR + 64]):
        raise board("its MBR names a partition in sectors of 512 bytes", sector)
    rows = head[2 * SECTOR : table_size(SECTOR)]
    entries = b"".join(_entry(rows[at : at + each], sector) for at in range(0, _ENTRIES, each))
    total, taken = _scaled(size // SECTOR, sector), _ENTRIES // sector
    last = total - taken - 2
    first = max(-(-first * SECTOR // sector), table_size(sector) // sector)

    def header(here: int, other: int, table: int) -> bytes:
        facts = [magic, revision, _HEADER.size, 0, 0, here, other, first, last, guid, table, count,
                 each, zlib.crc32(entries)]  # fmt: skip
        unsigned = _HEADER.pack(*facts)
        facts[3] = zlib.crc32(unsigned)
        return _HEADER.pack(*facts).ljust(sector, b"\0")

    mbr = bytearray(head[:SECTOR])
    struct.pack_into("<I", mbr, _MBR + 12, min(total - 1, 0xFFFFFFFF))
    start = bytes(mbr).ljust(sector, b"\0") + header(1, total - 1, _USUAL) + entries
    return start, entries + header(total - 1, 1, last + 1)


def _entry(row: bytes, sector: int) -> bytes:
    if not any(row[:16]):
        return row
    first, last = struct.unpack_from("<QQ", row, 32)
    places = struct.pack("<QQ", _scaled(first, sector), _scaled(last + 1, sector) - 1)
    return row[:32] + places + row[48:]


def _scaled(place: int, sector: int) -> int:
    number, remainder = divmod(place * SECTOR, sector)
    if remainder:
        raise ImageError(
            f"byte {place * SECTOR} of the image begins a partition or ends one, and is no "
            f"multiple of {sector}",
            hint="build the image with edgeimg: its partitions begin at multiples of 1 MiB",
        )
    return number


def board(reason: str, sector: int) -> ImageError:
    """The error for a board's image, whose ROM reads sectors of 512 bytes, and a disk with others.

    A ROM counts in its own sectors: no other place for the boot loader is known to be right.
    """
    return ImageError(
        f"the image is for a board, the disk has sectors of {sector} bytes: {reason}",
        hint="take a disk with sectors of 512 bytes",
    )
