"""The EFI programs in the boot partition of a finished disk: read, signed, put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from edgeimg.cache.store import disk_errors, require_room
from edgeimg.errors import ImageError, ToolError
from edgeimg.image.partitions import DiskPlan, Partition
from edgeimg.pack import fat
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_VOLUME_ID = 0x43
"""BS_VolID in the first sector of a FAT32 (Microsoft's FAT specification 1.03)."""
MAX_PROGRAM = 1 << 30
"""Bytes of a boot loader or UKI."""


def read(raw: Path, plan: DiskPlan, work: Path, *, toolbox: Toolbox) -> dict[str, Path]:
    """Copy the files of the boot partition to `work`: path in the partition → file.

    Raises ImageError when the partition cannot be read.
    """
    folder = work / "esp"
    folder.mkdir()
    return _files(raw, plan["esp"], folder, toolbox)


def is_program(name: str) -> bool:
    """Whether firmware or boot loader may start a file of the boot partition, by its path."""
    return name.upper().startswith("EFI/")


def program(path: Path) -> bytes:
    """The bytes of an EFI program in a file. Raises ImageError for one that is too large."""
    if path.stat().st_size > MAX_PROGRAM:
        raise ImageError(f"{path.name} is larger than {MAX_PROGRAM >> 20} MiB")
    return path.read_bytes()


def replace(
    raw: Path,
    plan: DiskPlan,
    output: Path,
    *,
    change: Callable[[bytes], bytes],
    growth: int = 0,
    more: Mapping[str, bytes] = MappingProxyType({}),
    epoch: int,
    toolbox: Toolbox,
) -> dict[str, int]:
    """Write the disk `raw` to `output` with every EFI program of its boot partition changed.

    `growth` are the bytes that a change adds to a program at most: without room for them, nothing
    is changed. `more` are contents by their path, which replace files of the partition or are
    added. `epoch` (seconds) is the image's time stamp. Returns the bytes of each program by its
    path. Where nothing changes, the disk has the same bytes. Raises BudgetError when the programs
    do not fit any more, ImageError, ToolError, HostError.
    """
    part, folder = plan["esp"], output.with_name("esp")
    folder.mkdir()
    files = _files(raw, part, folder, toolbox)
    kept = sum(path.stat().st_size for name, path in files.items() if name not in more)
    added = growth * sum(map(is_program, files)) + sum(map(len, more.values()))
    fat.require_room("ESP", part.size, kept + added)
    sizes = {}
    for name, path in files.items():
        if is_program(name):
            try:
                path.write_bytes(change(program(path)))
            except ImageError as error:
                raise ImageError(f"{name}: {error.message}") from None
            sizes[name] = path.stat().st_size
    for name, content in more.items():
        files[name] = folder / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(content)
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
        return fat.extract_all(raw, folder, offset=part.start, size=part.size, toolbox=toolbox)
    except ToolError as error:
        raise ImageError(f"the EFI system partition of {raw.name} cannot be read") from error
