"""The data on a disk, as far as can be seen without mounting it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeimg.flash.devices import Device
from edgeimg.flash.write import HEAD, MARK

_SAMPLES = 64
_SAMPLE = 64 << 10
"""Bytes of one sample."""


def data_on(device: Device) -> str:
    """The data on a disk; empty for a blank disk, and for one that an interrupted flash has left.

    A blank disk holds one byte throughout its head, its end and samples in between: encrypted data
    without a header and the end of an array are seen, a few sectors somewhere are not.
    """
    try:
        with Path(device.path).open("rb") as disk:
            head = disk.read(HEAD)
            if head.startswith(MARK):
                return ""
            if device.holds:
                return ", ".join(device.holds)
            is_blank = _is_uniform(head) and all(map(_is_uniform, _samples(disk, device.size)))
    except OSError as error:
        return f"data that cannot be read ({error.strerror})"
    return "" if is_blank else "data without a known format"


def _samples(disk: BinaryIO, size: int) -> Iterator[bytes]:
    disk.seek(max(0, size - HEAD))
    yield disk.read(HEAD)
    for number in range(1, _SAMPLES):
        disk.seek(size * number // _SAMPLES)
        yield disk.read(_SAMPLE)


def _is_uniform(data: bytes) -> bool:
    return not data.strip(data[:1])
