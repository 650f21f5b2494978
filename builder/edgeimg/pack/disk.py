"""The GPT disk: one layout for all architectures (Discoverable Partitions Specification)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import UUID, uuid5

from edgeimg.arch import Arch
from edgeimg.cache.store import disk_errors
from edgeimg.errors import BudgetError, ImageError, ToolError
from edgeimg.image.partitions import ALIGNMENT, LARGE_SECTOR, SECTOR, DiskPlan, Head, Partition
from edgeimg.pack import gpt
from edgeimg.recipe.board import Board
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

NAMESPACE = UUID("8f5ed0b8-6c0b-5c53-8f51-6c3a1c9e0d27")
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BASIC_DATA_TYPE = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
READ_ONLY = "GUID:60"
EMPTY = "_empty"
"""The label of a slot that no version is installed in, as systemd-sysupdate knows it."""


def plan(recipe: Recipe, arch: Arch, root_hash: str, sizes: Mapping[str, int]) -> DiskPlan:
    """Lay the disk out. `sizes` are the bytes of content by partition name; nothing is read.

    The UUIDs of root and root-verity are the halves of the root hash; all others follow from
    image id, version and architecture. Raises BudgetError, naming every content that is
    larger than its partition.
    """
    image = recipe.image
    version = f"{image.id}_{image.version}"
    halves = verity_uuids(root_hash)
    rows = [
        ("esp", "esp", ESP_TYPE, None, image.esp, ""),
        ("root-a", version, arch.root_type, halves[0], image.slot, READ_ONLY),
        ("root-a-verity", f"{version}_verity", arch.verity_type, halves[1], image.verity,
         READ_ONLY),
        ("root-b", EMPTY, arch.root_type, None, image.slot, ""),
        ("root-b-verity", EMPTY, arch.verity_type, None, image.verity, ""),
        ("config", "config", BASIC_DATA_TYPE, None, image.config, ""),
    ]  # fmt: skip
    partitions: list[Partition] = []
    head = _head(recipe.board) if recipe.board else None
    start = head.first if head else ALIGNMENT
    for name, label, kind, uuid, size, attributes in rows:
        part = Partition(
            name=name, label=label, type=kind, uuid=uuid or identity(image, arch, name),
            start=start, size=_aligned(size), attributes=attributes,
        )  # fmt: skip
        partitions.append(part)
        start += part.size
    _check_sizes(partitions, sizes)
    return DiskPlan(
        uuid=identity(image, arch, "disk"),
        # The backup table needs 33 sectors at the end; a whole alignment keeps sizes round. The
        # data partition is made on first boot, in what the real disk has beyond this.
        size=start + ALIGNMENT,
        partitions=tuple(partitions),
        head=head,
    )


def _head(board: Board) -> Head:
    return Head(
        board=board.name,
        first=board.first,
        entries=board.entries,
        table=board.table,
        hybrid=board.hybrid,
    )


def verity_uuids(root_hash: str) -> tuple[str, str]:
    """The UUIDs of root and root-verity: the halves of the root hash."""
    return str(UUID(root_hash[:32])), str(UUID(root_hash[32:]))


def identity(image: Image, arch: Arch, name: str) -> str:
    """A UUID that stays the same whenever the same version is built."""
    return str(uuid5(NAMESPACE, f"{image.id}_{image.version}_{arch.name}/{name}"))


def volume_id(image: Image, arch: Arch, name: str) -> int:
    """The same for a FAT's 32-bit serial number."""
    return int(identity(image, arch, name)[:8], 16)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _check_sizes(partitions: list[Partition], sizes: Mapping[str, int]) -> None:
    known = {part.name: part.size for part in partitions}
    large = [
        f"{name}: {size / (1 << 20):.1f} MiB of content, {known[name] >> 20} MiB of room"
        for name, size in sizes.items()
        if size > known[name]
    ]
    if large:
        raise BudgetError(
            "content is larger than its partition\n  " + "\n  ".join(large),
            hint="leave something out, or make the partition larger in [image] of the recipe "
            "(`slot`, `verity`, `esp`, `config`)",
        )


def write(
    plan: DiskPlan,
    parts: Mapping[str, Path],
    output: Path,
    *,
    raw: Mapping[int, Path] = MappingProxyType({}),
    toolbox: Toolbox,
) -> None:
    """Write the disk: a sparse file with the partition table and `parts` in their places.

    `raw` are a board's files by the byte where they begin, before the first partition.

    Raises ToolError, HostError when the disk of the host is full.
    """
    with disk_errors(output):
        with output.open("wb") as disk:
            disk.truncate(plan.size)
        toolbox.run(
            "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(output),
            input=plan.script().encode(), timeout=60.0,
        )  # fmt: skip
        for name, source in parts.items():
            sparse.copy(source, output, offset=plan[name].start)
        if plan.head is not None:
            gpt.arrange(output, plan)
        for place, source in raw.items():
            sparse.copy(source, output, offset=place)


def read(image: Path, *, name: str | None = None, toolbox: Toolbox) -> DiskPlan:
    """The layout of an existing disk image, called `name` in errors.

    A disk counts in its own sectors, a file in sectors of 512 bytes. Raises ImageError when it has
    no GPT, sectors of another size than edgeimg writes, or a partition that ends beyond it.
    """
    name = name or image.name
    try:
        listing = toolbox.run("sfdisk", "--json", str(image), timeout=60.0)
        table = json.loads(listing)["partitiontable"]
    except (ToolError, ValueError, KeyError) as error:
        raise ImageError(f"{name} is no disk image: it has no partition table") from error
    if table.get("label") != "gpt":
        raise ImageError(f"{name} has no GPT partition table")
    if (sector := table.get("sectorsize", SECTOR)) not in (SECTOR, LARGE_SECTOR):
        raise ImageError(
            f"{name} is not a disk that edgeimg made: its sectors have {sector} bytes, not "
            f"{SECTOR} or {LARGE_SECTOR}"
        )
    with image.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
    partitions = tuple(_from_sfdisk(row, sector) for row in table.get("partitions", []))
    for part in partitions:
        if part.start + part.size > size:
            raise ImageError(f"{name} is damaged: its partition {part.label} ends beyond it")
    return DiskPlan(uuid=table["id"].lower(), size=size, partitions=partitions)


def _from_sfdisk(row: Mapping[str, object], sector: int) -> Partition:
    label = str(row.get("name", ""))
    return Partition(
        name=label, label=label, type=str(row["type"]).lower(), uuid=str(row["uuid"]).lower(),
        start=int(str(row["start"])) * sector, size=int(str(row["size"])) * sector,
        attributes=str(row.get("attrs", "")),
    )  # fmt: skip
