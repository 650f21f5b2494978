"""The tables of an image, counted in sectors of 4096 bytes. UEFI 2.10, 5.3.2."""

from __future__ import annotations

import struct
import uuid
import zlib

import pytest
from edgeimg.errors import ImageError
from edgeimg.pack import gpt

MIB = 1 << 20
SIZE = 64 * MIB
PARTS = [(MIB, 8 * MIB), (9 * MIB, 54 * MIB)]


def header(here: int, other: int, table: int, entries: bytes, last: int) -> bytes:
    def packed(crc: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 1 << 16, 92, crc, 0, here, other, 2048, last,
            uuid.UUID(int=7).bytes_le, table, 128, 128, zlib.crc32(entries),
        )  # fmt: skip

    return packed(zlib.crc32(packed(0)))


def head(parts: list[tuple[int, int]] = PARTS) -> bytes:
    """The first MiB of an image."""
    rows = [
        struct.pack("<16s16sQQQ72s", bytes([n + 1]) * 16, bytes([n + 9]) * 16, start // 512,
                    (start + size) // 512 - 1, 1 << 60, f"part {n}".encode("utf-16-le"))
        for n, (start, size) in enumerate(parts)
    ]  # fmt: skip
    entries = b"".join(rows).ljust(16384, b"\0")
    mbr = bytearray(512)
    struct.pack_into("<B3sB3sII", mbr, 446, 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, SIZE // 512 - 1)
    mbr[510:] = b"\x55\xaa"
    table = header(1, SIZE // 512 - 1, 2, entries, SIZE // 512 - 34).ljust(512, b"\0")
    return (bytes(mbr) + table + entries).ljust(MIB, b"\0")


def checked(table: bytes, entries: bytes) -> dict[str, int]:
    """The fields of a header whose digests are right."""
    (crc,) = struct.unpack_from("<I", table, 16)
    assert crc == zlib.crc32(table[:16] + bytes(4) + table[20:92])
    assert struct.unpack_from("<I", table, 88)[0] == zlib.crc32(entries)
    names = ("here", "other", "first", "last")
    found = dict(zip(names, struct.unpack_from("<4Q", table, 24), strict=True))
    return {**found, "table": struct.unpack_from("<Q", table, 72)[0]}


def test_tables_count_in_the_sectors_of_the_disk_and_partitions_keep_their_bytes() -> None:
    start, end = gpt.tables(head(), SIZE, 4096)
    total = SIZE // 4096
    assert len(start) == gpt.table_size(4096) == 6 * 4096
    assert len(end) == 5 * 4096
    entries = start[8192:]
    assert end[:16384] == entries
    first = checked(start[4096:8192], entries)
    assert first == {"here": 1, "other": total - 1, "first": 256, "last": total - 6, "table": 2}
    last = checked(end[16384:], entries)
    assert last == {**first, "here": total - 1, "other": 1, "table": total - 5}
    for number, (offset, size) in enumerate(PARTS):
        row, old = entries[number * 128 :][:128], head()[1024 + number * 128 :][:128]
        begin, finish = struct.unpack_from("<QQ", row, 32)
        assert (begin * 4096, (finish + 1) * 4096) == (offset, offset + size)
        assert row[:32] + row[48:] == old[:32] + old[48:]
    assert not any(entries[len(PARTS) * 128 :])
    assert struct.unpack_from("<II", start, 446 + 8) == (1, total - 1)
    assert start[510:512] == b"\x55\xaa"


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match=r"begins at byte 20480: .* takes 24576"):
        gpt.tables(head()[:20480], SIZE, 4096)
    assert gpt.tables(head()[:24576], SIZE, 4096)


def test_odd_headers_of_other_programs_become_usual_ones() -> None:
    image = bytearray(head())
    struct.pack_into("<I", image, 512 + 12, 512)  # the header's size
    struct.pack_into("<Q", image, 512 + 40, 34)  # the first usable sector
    start, _ = gpt.tables(bytes(image), SIZE, 4096)
    assert struct.unpack_from("<I", start, 4096 + 12) == (92,)
    assert checked(start[4096:8192], start[8192:])["first"] == 6


def test_the_same_sectors_give_the_same_table() -> None:
    assert gpt.tables(head(), SIZE, 512)[0] == head()[: 34 * 512]


def test_partitions_between_sectors_are_refused() -> None:
    assert gpt.tables(head([(MIB + 4096, MIB)]), SIZE, 4096)
    for parts in ([(MIB + 512, MIB)], [(MIB, MIB + 2048)]):
        with pytest.raises(ImageError, match="no multiple of 4096"):
            gpt.tables(head(parts), SIZE, 4096)


@pytest.mark.parametrize(
    ("place", "data", "reason"),
    [
        (
            512 + 72,
            struct.pack("<Q", 1440),
            "disk has sectors of 4096 bytes: its ROM reads a boot loader",
        ),
        (512 + 80, struct.pack("<I", 56), "its ROM reads a boot loader"),
        (446 + 4, b"\x0c", "MBR names a partition"),
        (446 + 16 + 4, b"\xee", "MBR names a partition"),
        (512, b"EFI PARK", "no GPT"),
    ],
)
def test_images_of_boards_are_refused(place: int, data: bytes, reason: str) -> None:
    image = bytearray(head())
    image[place : place + len(data)] = data
    with pytest.raises(ImageError, match=reason):
        gpt.tables(bytes(image), SIZE, 4096)
