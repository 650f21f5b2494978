"""The same image for disks whose sectors have 4096 bytes: partition table and FATs are made anew.

A GPT counts in sectors of the disk, and no driver mounts a FAT whose sectors are smaller than the
disk's. Everything else, root, hash trees and the files in the FATs, keeps its bytes and its place.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import disk_errors, require_room
from edgeimg.errors import ImageError
from edgeimg.flash import source
from edgeimg.image import blockmap, bmap
from edgeimg.image.blockmap import BlockMap
from edgeimg.image.partitions import SECTOR, Partition
from edgeimg.pack import disk, fat, gpt
from edgeimg.recipe.tables import Image
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_FATS: Mapping[str, tuple[str, int]] = {
    disk.ESP_TYPE: ("ESP", 32),
    disk.BASIC_DATA_TYPE: ("CONFIG", 16),
}
"""Volume label and bits of a FAT by the type of its partition."""
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SectorImage:
    """A raw image whose partition table counts in sectors of `sector` bytes."""

    path: Path
    blocks: BlockMap
    sector: int = SECTOR


def lay_out(
    image: Path, blocks: BlockMap, directory: Path, *, sector: int, toolbox: Toolbox
) -> SectorImage:
    """Lay `image` out for sectors of `sector` bytes, in files of `directory`.

    Equal images give equal bytes. Raises ImageError for an image that does not match its block
    map, for an image of a board that boots from sectors of 512 bytes, and for a partition that is
    not at a multiple of `sector`; HostError when there is no room, ToolError.
    """
    stem = image.name.removesuffix(".zst").removesuffix(".raw")
    raw = directory / f"{stem}.sectors-{sector}.raw"
    described = raw.with_suffix(".bmap")
    with disk_errors(directory):
        require_room(directory, blocks.mapped)
        _unpack(image, blocks, raw)
        plan = disk.read(raw, name=image.name, toolbox=toolbox)
        first = min((part.start for part in plan.partitions), default=0)
        _require_empty(raw, gpt.table_size(SECTOR), first, sector)
        with raw.open("rb") as file:
            head = file.read(min(first, gpt.table_size(sector)))
        start, end = gpt.tables(head, plan.size, sector)
        spans = [(0, len(start)), (plan.size - len(end), plan.size)]
        fats = [part for part in plan.partitions if part.type in _FATS]
        others = [part for part in plan.partitions if part not in fats]
        # Each is copied out, and made of the copies.
        content = (end - start for part in fats for start, end in _mapped(blocks, part))
        require_room(directory, 2 * sum(content))
        for number, part in enumerate(fats):
            filesystem = _make_fat(raw, part, directory / f"fat-{number}", sector, toolbox)
            _replace(raw, part, filesystem)
            spans.append((part.start, part.start + sparse.used(filesystem)))
            filesystem.unlink()
        with raw.open("r+b") as file:
            for place, data in ((0, start), (plan.size - len(end), end)):
                file.seek(place)
                file.write(data)
        _require_unchanged(raw, blocks, others)
        spans += [span for part in others for span in _mapped(blocks, part)]
        described.write_bytes(bmap.document(raw, bmap.merged(spans)))
    return SectorImage(path=raw, blocks=blockmap.read(described), sector=sector)


def _require_empty(raw: Path, start: int, end: int, sector: int) -> None:
    """Raises ImageError for data between the partition table and the first partition."""
    if end > start and next(sparse.chunks(raw, offset=start, size=end - start), None):
        raise gpt.board(gpt.BOOT_LOADER, sector)


def _require_unchanged(raw: Path, blocks: BlockMap, parts: Sequence[Partition]) -> None:
    """Raises ImageError when the bytes of partitions are not those that the block map names."""
    for extent in blocks.extents:
        if (
            any(
                part.start <= extent.start and extent.end <= part.start + part.size
                for part in parts
            )
            and _digest(raw, extent.start, extent.end) != extent.sha256
        ):
            raise ImageError(f"{raw} changed on the disk of this computer")  # fmt: skip


def _digest(raw: Path, start: int, end: int) -> str:
    digest = hashlib.sha256()
    with raw.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            digest.update(chunk)
            start += len(chunk)
    return digest.hexdigest()


def _unpack(image: Path, blocks: BlockMap, raw: Path) -> None:
    """Write the mapped blocks to a new sparse file; their digests match. Raises ImageError."""
    with source.opened(image) as stream, raw.open("wb") as output:
        output.truncate(blocks.image_size)
        for offset, data in source.pieces(stream, blocks, image):
            output.seek(offset)
            output.write(data)


def _make_fat(raw: Path, part: Partition, work: Path, sector: int, toolbox: Toolbox) -> Path:
    """The FAT of a partition with the same files, label and serial number. Returns its file."""
    label, bits = _FATS[part.type]
    work.mkdir()
    files = fat.extract_all(raw, work, offset=part.start, size=part.size, toolbox=toolbox)
    filesystem, again = work.with_suffix(".fat"), work.with_suffix(".again")
    fat.make(
        filesystem, files, size=part.size, bits=bits, label=label, volume_id=int(part.uuid[:8], 16),
        epoch=Image().epoch, sector=sector, toolbox=toolbox,
    )  # fmt: skip
    again.mkdir()
    copies = fat.extract_all(filesystem, again, toolbox=toolbox)
    if copies.keys() != files.keys() or not all(
        filecmp.cmp(copies[name], file, shallow=False) for name, file in files.items()
    ):
        raise ImageError(f"the files of {part.name} changed when they were copied")
    shutil.rmtree(work)
    shutil.rmtree(again)
    return filesystem


def _replace(raw: Path, part: Partition, filesystem: Path) -> None:
    with raw.open("r+b") as file:
        for position, chunk in sparse.chunks(raw, offset=part.start, size=part.size):
            file.seek(part.start + position)
            file.write(bytes(len(chunk)))
    sparse.copy(filesystem, raw, offset=part.start)


def _mapped(blocks: BlockMap, part: Partition) -> Iterator[tuple[int, int]]:
    """The bytes of a partition that the block map names."""
    for extent in blocks.extents:
        start, end = max(extent.start, part.start), min(extent.end, part.start + part.size)
        if start < end:
            yield start, end
