"""EFI programs made here: as small as they can be."""

from __future__ import annotations

import struct

_HEADERS = 0x200
CHECKSUM, DIRECTORY = 0x40 + 24 + 64, 0x40 + 24 + 112 + 8 * 4
"""Places of what a signature does not cover."""


def program(*sections: bytes, gap: int = 0, behind: bytes = b"", directories: int = 16) -> bytes:
    """A PE32+ file for x86-64; sections are padded to 512 bytes, with `gap` bytes before each."""
    size = 112 + 8 * directories
    head = bytearray(_HEADERS)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x40)
    struct.pack_into("<4sHH12xHH", head, 0x40, b"PE\0\0", 0x8664, len(sections), size, 0x22)
    struct.pack_into("<H", head, 0x58, 0x20B)
    struct.pack_into("<II", head, 0x58 + 32, 0x1000, 0x200)
    struct.pack_into("<II", head, 0x58 + 56, 0x1000 * (len(sections) + 1), _HEADERS)
    struct.pack_into("<H", head, 0x58 + 68, 10)
    struct.pack_into("<I", head, 0x58 + 108, directories)
    body = b""
    for number, section in enumerate(sections):
        padded = section + bytes(-len(section) % 512)
        body += bytes(gap)
        struct.pack_into(
            "<8sIIII", head, 0x58 + size + 40 * number,
            f".s{number}".encode(), len(section), 0x1000 * (number + 1), len(padded),
            _HEADERS + len(body),
        )  # fmt: skip
        body += padded
    return bytes(head) + body + behind
