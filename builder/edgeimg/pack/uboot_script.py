"""Scripts of U-Boot: the legacy image format of its `include/image.h`, of type script.

A header of 64 bytes, big-endian, with two CRC-32; then the script's length, a zero that ends the
list of lengths, and the script.
"""

from __future__ import annotations

import struct
import zlib

from edgeimg.arch import Arch

_MAGIC = 0x27051956
_LINUX, _SCRIPT, _NONE = 5, 6, 0
_HEADER = struct.Struct(">7I4B32s")


def make(script: str, *, arch: Arch, name: str = "edgeimg") -> bytes:
    """The image of a script, as `mkimage -T script -A ARCH` writes it, with the time 0."""
    text = script.encode()
    data = struct.pack(">II", len(text), 0) + text
    fields = (0, len(data), 0, 0, zlib.crc32(data), _LINUX, arch.uboot, _SCRIPT, _NONE)
    title = name.encode()[:31]
    checksum = zlib.crc32(_HEADER.pack(_MAGIC, 0, *fields, title))
    return _HEADER.pack(_MAGIC, checksum, *fields, title) + data
