"""Where the K3s wrapper carries its asset, and for which machine a program is.

The wrapper is a Go program with one embedded file, `<sha256>.tar.zst`, in a loaded segment; the
name stands elsewhere in the program. Formats: ELF (gABI), zstd frames (RFC 8878).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from elftools.common.exceptions import ELFError
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE

from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.errors import ArchitectureError, ArchiveError, DigestError

ELF_MAGIC = b"\x7fELF"
MAX_BLOCKS = 1 << 20
"""Blocks of zstd frames that are looked at: 128 GiB of content in honest ones."""
_IDENTITY = 20
_MAGIC = b"\x28\xb5\x2f\xfd"
_NAME = re.compile(rb"[0-9a-f]{64}(?=\.tar\.zst)")
_PARSER_ERRORS = (ELFError, ConstructError, ValueError, LookupError, TypeError, OverflowError)
_MACHINES = {number: name for name, number in ENUM_E_MACHINE.items() if isinstance(number, int)}
_HINT = "take the release's binary (k3s, k3s-arm64, k3s-armhf), not a file of its data directory"


@dataclass(frozen=True)
class Asset:
    """The embedded `<hash>.tar.zst`: `size` bytes at `offset` of the wrapper."""

    hash: str
    offset: int
    size: int


def machine(header: bytes) -> str:
    """The machine in the first 20 bytes of an ELF file: `arm64`, or `EM_RISCV, 64-bit`.

    Empty when they are not an ELF header.
    """
    if len(header) < _IDENTITY or not header.startswith(ELF_MAGIC):
        return ""
    bits, order = {1: 32, 2: 64}.get(header[4], 0), "<" if header[5] == 1 else ">"
    (number,) = struct.unpack_from(f"{order}H", header, 18)
    name = _MACHINES.get(number, f"machine {number}")
    for arch in ARCHITECTURES:
        if (arch.elf_machine, arch.elf_class, "<") == (name, bits, order):
            return arch.name
    return f"{name}, {bits}-bit" + (", big endian" if order == ">" else "")


def require_machine(header: bytes, arch: Arch, label: str) -> None:
    """Raise ArchitectureError when an ELF header is for another machine than `arch`."""
    actual = machine(header)
    if actual != arch.name:
        raise ArchitectureError(
            f"{label} is a program for {actual}, but the image is for {arch.name}",
            hint=f"take the one for {arch.name} (Debian's {arch.debian}, k3s{arch.k3s_suffix})",
        )


def is_static(program: bytes) -> bool:
    """Whether a program runs without a dynamic loader. Raises ArchiveError for no ELF file."""
    try:
        return not any(True for _ in ELFFile(io.BytesIO(program)).iter_segments("PT_INTERP"))
    except _PARSER_ERRORS as error:
        raise ArchiveError(f"damaged ELF file: {error}") from error


def find(path: Path, arch: Arch, label: str) -> Asset:
    """The one asset of the K3s wrapper at `path`, its sha256 checked against its name.

    Raises ArchitectureError for another architecture's wrapper, DigestError for changed bytes,
    ArchiveError when the file is truncated or not such a wrapper.
    """
    with path.open("rb") as file:
        header = file.read(_IDENTITY)
        if not machine(header):
            raise ArchiveError(f"{label} is not a program (no ELF header)", hint=_HINT)
        require_machine(header, arch, label)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _choose(data, _segments(data, label), label)


def _segments(data: mmap.mmap, label: str) -> list[tuple[int, int]]:
    """Start and end in the file of the segments that the program has in memory."""
    size = len(data)
    try:
        # Not of the file: to seek in one beyond what its file system can hold is an OSError.
        headers = [s.header for s in ELFFile(cast(BinaryIO, data)).iter_segments("PT_LOAD")]
        spans = sorted((int(h["p_offset"]), int(h["p_offset"] + h["p_filesz"])) for h in headers)
    except _PARSER_ERRORS as error:
        raise ArchiveError(f"{label}: damaged or truncated ELF file: {error}") from error
    end = max((end for _, end in spans), default=0)
    if end > size:
        raise ArchiveError(
            f"{label} is truncated: it has {size} bytes, at least {end} are expected",
            hint="get it once more",
        )
    return _disjoint(spans)


def _disjoint(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans, those that overlap as one: every byte is looked at once."""
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _choose(data: mmap.mmap, segments: list[tuple[int, int]], label: str) -> Asset:
    names = {match.group().decode() for match in _NAME.finditer(data)}
    blocks = itertools.count()
    frames = [frame for start, end in segments for frame in _frames(data, start, end, blocks)]
    if not names or not frames:
        raise ArchiveError(f"{label} is no K3s release: it carries no <sha256>.tar.zst", hint=_HINT)
    digests = {_sha256(data, offset, size): (offset, size) for offset, size in frames}
    assets = [Asset(digest, *digests[digest]) for digest in sorted(names & digests.keys())]
    if not assets:
        largest = max(digests, key=lambda digest: digests[digest][1])
        raise DigestError(
            f"{label} is damaged: its asset has the sha256 {largest}, expected "
            f"{' or '.join(sorted(names))}",
            hint="get it once more",
        )
    if len(assets) > 1:
        raise ArchiveError(f"{label} carries {len(assets)} assets, expected one", hint=_HINT)
    return assets[0]


def _frames(
    data: mmap.mmap, start: int, end: int, blocks: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Offset and size of every complete zstd frame of a segment."""
    at = data.find(_MAGIC, start, end)
    while at >= 0:
        size = frame_size(data, at, end, blocks)
        if size:
            yield at, size
        at = data.find(_MAGIC, at + (size or 1), end)


def frame_size(
    data: bytes | mmap.mmap, at: int, end: int, blocks: Iterator[int] | None = None
) -> int:
    """Bytes of the zstd frame at `at`, or 0 without a complete frame (RFC 8878 §3.1.1).

    `blocks` counts the blocks that were looked at. Raises ArchiveError for MAX_BLOCKS of them.
    """
    blocks = blocks or itertools.count()
    position = at + len(_MAGIC)
    if position >= end:
        return 0
    descriptor = data[position]
    if descriptor & 0x08:
        return 0
    single = bool(descriptor & 0x20)
    content_size = (int(single), 2, 4, 8)[descriptor >> 6]
    position += 1 + int(not single) + (0, 1, 2, 4)[descriptor & 3] + content_size
    last = False
    while not last:
        if next(blocks) >= MAX_BLOCKS:
            raise ArchiveError(f"refused after {MAX_BLOCKS} zstd blocks: too much work")
        if position + 3 > end:
            return 0
        block = int.from_bytes(data[position : position + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == 3 or (kind != 1 and size > 128 << 10):
            return 0
        position += 3 + (1 if kind == 1 else size)
    position += 4 if descriptor & 0x04 else 0
    return position - at if position <= end else 0


def _sha256(data: mmap.mmap, offset: int, size: int) -> str:
    digest = hashlib.sha256()
    for start in range(offset, offset + size, 1 << 20):
        digest.update(data[start : min(start + (1 << 20), offset + size)])
    return digest.hexdigest()
