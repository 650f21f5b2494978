"""FAT file systems with exactly given files, made without mounting anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgeimg.errors import BudgetError
from edgeimg.image.partitions import SECTOR
from edgeimg.pack import fat_bounds
from edgeimg.tools import Toolbox

TIMEOUT = 300.0
_OVERHEAD = 2 << 20
_MOST_CLUSTERS = {12: 4084, 16: 65524}
"""The number of clusters decides what a FAT is (Microsoft's FAT specification 1.03, "FAT Type
Determination")."""
_TABLES = 256
"""More sectors than tables and root directory of the smallest FAT16 or FAT32 take."""


def make(
    output: Path,
    files: Mapping[str, Path],
    *,
    size: int,
    bits: int,
    label: str,
    volume_id: int,
    epoch: int,
    spare: int = 0,
    sector: int = SECTOR,
    toolbox: Toolbox,
) -> None:
    """Write a FAT of `size` bytes holding `files` (path in the FAT → file of the host).

    `bits` is 16 or 32; with sectors of more than 512 bytes a FAT that is too small for it gets
    fewer. `sector` are the disk's bytes: smaller ones cannot be mounted there. `epoch` (seconds) is
    every time stamp; `spare` bytes must stay free. Equal arguments give equal bytes. Raises
    BudgetError when the files do not fit, ToolError.
    """
    require_room(label, size, sum(path.stat().st_size for path in files.values()) + spare)
    with output.open("wb") as image:
        image.truncate(size)
    # mtools and mkfs.fat take their time stamps from it.
    env = {"SOURCE_DATE_EPOCH": str(epoch)}
    toolbox.run(
        "mkfs.fat", "--invariant", *_geometry(size, bits, sector), f"-S{sector}", "-h0",
        "-n", label, "-i", f"{volume_id:08x}", str(output), timeout=TIMEOUT, env=env,
    )  # fmt: skip
    if directories := _directories(files):
        toolbox.run("mmd", "-i", str(output), *directories, timeout=TIMEOUT, env=env)
    for name, source in sorted(files.items()):
        toolbox.run("mcopy", "-i", str(output), str(source), f"::/{name}", timeout=TIMEOUT, env=env)


def require_room(label: str, size: int, content: int) -> None:
    """Raises BudgetError when `content` bytes do not fit a FAT of `size` bytes."""
    needed = content + _OVERHEAD
    if needed > size:
        raise BudgetError(
            f"the {label} partition needs {needed >> 20} MiB and has {size >> 20} MiB",
            hint="make it larger in [image] of the recipe",
        )


def _geometry(size: int, bits: int, sector: int) -> list[str]:
    """Options of mkfs.fat(8): bits of an entry, and sectors of a cluster where that is needed."""
    if sector == SECTOR:
        return [f"-F{bits}"]
    sectors = size // sector
    fitting = [
        fewer for fewer, most in _MOST_CLUSTERS.items()
        if fewer < bits and sectors <= most + _TABLES
    ]  # fmt: skip
    bits = min([bits, *fitting])
    cluster = 1
    while bits in _MOST_CLUSTERS and sectors // cluster > _MOST_CLUSTERS[bits]:
        cluster *= 2
    return [f"-F{bits}", f"-s{cluster}"]


def _directories(files: Mapping[str, Path]) -> list[str]:
    """The directories that must be made, parents first."""
    found = {parent for name in files for parent in PurePosixPath(name).parents if parent.name}
    return [f"::/{path}" for path in sorted(found)]


def names(
    image: Path, directory: str, *, offset: int = 0, size: int | None = None, toolbox: Toolbox
) -> list[str]:
    """The names in a directory of the FAT at `offset` of `image`.

    The FAT is looked at first; see `fat_bounds.check` for `size` and errors. Raises ToolError.
    """
    fat_bounds.check(image, offset=offset, size=size)
    listing = toolbox.run("mdir", "-i", f"{image}@@{offset}", "-b", f"::/{directory}", timeout=60.0)
    lines = listing.decode(errors="replace").split("\n")
    return [PurePosixPath(line).name for line in lines if line.strip()]


def extract(
    image: Path,
    name: str,
    output: Path,
    *,
    offset: int = 0,
    size: int | None = None,
    toolbox: Toolbox,
) -> None:
    """Copy one file out of the FAT at `offset` of `image`. Raises as `names`."""
    fat_bounds.check(image, offset=offset, size=size)
    toolbox.run(
        "mcopy", "-n", "-i", f"{image}@@{offset}", f"::/{name}", str(output), timeout=TIMEOUT
    )


def extract_all(
    image: Path, folder: Path, *, offset: int = 0, size: int | None = None, toolbox: Toolbox
) -> dict[str, Path]:
    """Copy all files out of the FAT at `offset` of `image` into the empty directory `folder`.

    Returns path in the FAT → file. Raises as `names`.
    """
    fat_bounds.check(image, offset=offset, size=size)
    place = f"{image}@@{offset}"
    toolbox.run("mcopy", "-s", "-n", "-Q", "-i", place, "::/", str(folder), timeout=TIMEOUT)
    return {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
