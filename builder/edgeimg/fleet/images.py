"""One gateway's image: the release's, with the gateway's files on its config partition.

Everything that goes to a disk goes through a block map: so the files are written, synced and read
back with the rest, before the disk gets its partition table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import disk_errors, require_room
from edgeimg.errors import EdgeimgError
from edgeimg.flash import source
from edgeimg.image import blockmap
from edgeimg.image.blockmap import BlockMap
from edgeimg.pack import publish
from edgeimg.provision import partition, target
from edgeimg.provision.rendering import DIRECTORY
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox


@dataclass(frozen=True, kw_only=True)
class Base:
    """The image that all gateways have in common; checked, raw."""

    raw: Path
    blocks: BlockMap


def base(raw: Path, blocks: BlockMap, name: Path) -> Base:
    """The raw image of `name`, once it is what its block map says. Raises ImageError."""
    with source.opened(raw) as stream:
        for _ in source.pieces(stream, blocks, name):
            pass
    return Base(raw=raw, blocks=blocks)


@dataclass(frozen=True, kw_only=True)
class GatewayImage:
    """An image of one gateway, and its block map. It holds the gateway's secrets."""

    raw: Path
    described: Path
    blocks: BlockMap


def make(
    base: Base, files: Mapping[str, bytes], directory: Path, name: str, *, toolbox: Toolbox
) -> GatewayImage:
    """Write `NAME.raw` and `NAME.bmap` to `directory`, readable by their owner only.

    `files` are of the config partition. Where the file system can, the copy shares its blocks with
    the base. Raises ToolError, ImageError, HostError when there is no room.
    """
    raw, described = directory / f"{name}.raw", directory / f"{name}.bmap"
    require_room(directory, base.blocks.mapped)
    with disk_errors(directory):
        raw.touch(mode=0o600)
        sparse.clone(base.raw, raw)
        partition.write(raw, files, toolbox=toolbox)
        target.private(described)
        described.write_bytes(target.block_map(raw, base.blocks, toolbox=toolbox))
    return GatewayImage(raw=raw, described=described, blocks=blockmap.read(described))


def holder(disk_path: Path, *, toolbox: Toolbox) -> str:
    """The gateway that a disk says it was made for; nothing for any other disk."""
    try:
        hostname = partition.read(disk_path, f"{DIRECTORY}/hostname", toolbox=toolbox)
        return hostname.decode().strip()
    except (EdgeimgError, StopIteration, OSError, UnicodeDecodeError):
        return ""


def compress(image: GatewayImage, *, toolbox: Toolbox) -> Path:
    """Replace the raw image by a compressed one. Raises ToolError, HostError."""
    packed = image.raw.with_name(f"{image.raw.name}.zst")
    with disk_errors(packed):
        packed.touch(mode=0o600)
        publish.compress(image.raw, packed, toolbox=toolbox)
        image.raw.unlink()
    return packed
