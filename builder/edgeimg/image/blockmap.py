"""Reads a block map (bmap 2.0): the blocks of an image to write, with digests."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from edgeimg.errors import ImageError
from edgeimg.text import bounded

_MAX_BYTES = 1 << 20
_RANGE = re.compile(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*")
_NUMBER = re.compile(r"[0-9]{1,15}")
_SMALLEST = 2 * 34 * 512
"""Bytes of a disk that is nothing but its two partition tables (UEFI, "GPT")."""
_LARGEST_BLOCK = 1 << 24
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A stretch of the image, in bytes, and the sha256 of what is in it."""

    start: int
    end: int
    sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class BlockMap:
    """Extents to write; sorted, without overlaps."""

    image_size: int
    """Bytes of the whole image."""
    extents: tuple[Extent, ...]

    @property
    def mapped(self) -> int:
        """Bytes that are written."""
        return sum(extent.size for extent in self.extents)

    @property
    def digest(self) -> str:
        """A digest that identifies the image."""
        text = "\n".join(f"{extent.start} {extent.end} {extent.sha256}" for extent in self.extents)
        return hashlib.sha256(f"{self.image_size}\n{text}".encode()).hexdigest()


def beside(image: Path) -> Path:
    """The block map of an image, by the names that `edgeimg build` gives."""
    name = image.name.removesuffix(".zst").removesuffix(".raw")
    return image.with_name(f"{name}.bmap")


def read(path: Path) -> BlockMap:
    """Parse a block map. Raises ImageError for a damaged or contradictory one."""
    try:
        data = bounded.read(path, _MAX_BYTES)
    except OSError as error:
        raise ImageError(
            f"cannot read the block map {path}: {error.strerror}",
            hint="it is published beside the image: get it as well",
        ) from None
    try:
        return _parse(data)
    except (ET.ParseError, KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"the block map {path} is damaged: {error}", hint="get it once more"
        ) from None


def _parse(data: bytes) -> BlockMap:
    if b"<!" in data:  # no document types: no entities to expand
        raise ValueError("it is no block map")
    root = ET.fromstring(data)
    fields = {child.tag: (child.text or "").strip() for child in root}
    if root.tag != "bmap" or root.get("version") != "2.0" or fields["ChecksumType"] != "sha256":
        raise ValueError("expected bmap 2.0 with sha256")
    checksum = fields["BmapFileChecksum"]
    if hashlib.sha256(data.replace(checksum.encode(), b"0" * 64, 1)).hexdigest() != checksum:
        raise ValueError("its own digest does not match")
    size, block = _number(fields, "ImageSize"), _number(fields, "BlockSize")
    if size < _SMALLEST or not 512 <= block <= _LARGEST_BLOCK or block % 512:
        raise ValueError(f"a disk of {size} bytes in blocks of {block}")
    ranges = root.find("BlockMap")
    extents = [_extent(item, block, size) for item in (ranges if ranges is not None else ())]
    for first, second in pairwise(extents):
        if second.start < first.end:
            raise ValueError("its ranges overlap")
    if not extents:
        raise ValueError("it maps nothing")
    return BlockMap(image_size=size, extents=tuple(extents))


def _number(fields: dict[str, str], name: str) -> int:
    if not _NUMBER.fullmatch(fields[name]):
        raise ValueError(f"{name} is not a number of bytes")
    return int(fields[name])


def _extent(item: ET.Element, block: int, size: int) -> Extent:
    match = _RANGE.fullmatch(item.text or "")
    sha256 = item.get("chksum") or ""
    if item.tag != "Range" or not match or not _SHA256.fullmatch(sha256):
        raise ValueError(f"unexpected {item.tag} {item.text!r}")
    first, last = int(match[1]), int(match[2] or match[1])
    start, end = first * block, min((last + 1) * block, size)
    if first > last or last * block >= size:
        raise ValueError(f"blocks {first}-{last} are not in the image")
    return Extent(start=start, end=end, sha256=sha256)
