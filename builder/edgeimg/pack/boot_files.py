"""The EFI programs in the boot partition of a finished disk: read, signed, put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeimg.cache.store import disk_errors, require_room
from edgeimg.errors import ImageError, ToolError
from edgeimg.image.partitions import DiskPlan, Partition
from edgeimg.pack import fat
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode

_VOLUME_ID = 0x43
"""BS_VolID in the first sector of a FAT32 (Microsoft's FAT specification 1.03)."""


def read(raw: Path, plan: DiskPlan, work: Path, *, toolbox: Toolbox) -> dict[str, Path]:
    """Copy the boot partition's EFI programs to `work`: path in the partition → file.

    Raises ImageError when the partition cannot be read.
    """
    return {
        name: path
        for name, path in _files(raw, plan["esp"], work, toolbox).items()
        if _is_program(path)
    }


def replace(
    raw: Path,
    plan: DiskPlan,
    output: Path,
    *,
    change: Callable[[bytes], bytes],
    epoch: int,
    toolbox: Toolbox,
) -> dict[str, int]:
    """Write the disk `raw` to `output` with every EFI program of its boot partition changed.

    `epoch` (seconds) is the image's time stamp. Returns the bytes of each program by its path.
    Where nothing changes, the disk has the same bytes. Raises BudgetError when the programs do not
    fit any more, ImageError, ToolError, HostError.
    """
    part, folder = plan["esp"], output.with_name("esp")
    folder.mkdir()
    files = _files(raw, part, folder, toolbox)
    sizes = {}
    for name, path in files.items():
        if _is_program(path):
            path.write_bytes(change(path.read_bytes()))
            sizes[name] = path.stat().st_size
    with raw.open("rb") as file:
        file.seek(part.start + _VOLUME_ID)
        volume_id = int.from_bytes(file.read(4), "little")
    partition = output.with_name("esp.fat")
    fat.make(
        partition, files, size=part.size, bits=32, label="ESP", volume_id=volume_id, epoch=epoch,
        toolbox=toolbox,
    )  # fmt: skip
    require_room(output, sparse.used(raw))
    with disk_errors(output), output.open("wb") as disk:
        disk.truncate(plan.size)
        end = part.start + part.size
        for offset, size in ((0, part.start), (end, plan.size - end)):
            for position, chunk in sparse.chunks(raw, offset=offset, size=size):
                disk.seek(offset + position)
                disk.write(chunk)
    sparse.copy(partition, output, offset=part.start)
    return sizes


def _files(raw: Path, part: Partition, folder: Path, toolbox: Toolbox) -> dict[str, Path]:
    try:
        return fat.extract_all(raw, folder, offset=part.start, toolbox=toolbox)
    except ToolError as error:
        raise ImageError(f"the EFI system partition of {raw.name} cannot be read") from error


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == authenticode.MAGIC
