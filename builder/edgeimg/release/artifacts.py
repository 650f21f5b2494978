"""The update files of each image: its parts, which gateways install into their free slot.

Named as systemd-sysupdate matches them (sysupdate.d(5)): `@v` is the version, `@u` the UUID that
the partition must have, which for root and root-verity are the halves of the root hash.

    <id>_@v_<arch>_@u.root.xz     content of the root slot
    <id>_@v_<arch>_@u.verity.xz   its hash tree
    <id>_@v_<arch>.efi            the UKI
    <id>_@v_<arch>_@u.root.pieces content of the root slot, for gateways that have most of it
    <id>_@v_<arch>.delta          index of the pieces (release/delta.py)
    <id>_@v_<arch>.rollback       `rollback_index=N`; absent for 0
"""

from __future__ import annotations

from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError, ToolError
from edgeimg.image.manifest import Manifest
from edgeimg.pack import fat
from edgeimg.release import delta
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_ENTRIES = "EFI/Linux"
_LEVEL = "-6"
_BLOCK = "--block-size=24MiB"
"""Bytes depend on the size of blocks, not on how many are packed at once."""
_TIMEOUT = 1800.0


def split(
    raw: Path, name: str, manifest: Manifest, directory: Path, *, toolbox: Toolbox
) -> list[Path]:
    """Write the update files of the raw disk image `raw`, described by `manifest`.

    xz, because systemd 257 (Debian 13) unpacks no zstd. Equal images give equal bytes. Raises
    ToolError, HostError, ImageError when the image does not match its manifest.
    """
    disk, sizes = manifest.disk, manifest.sizes
    slots = [
        (disk["root-a"], sizes["root"], "root"),
        (disk["root-a-verity"], sizes["verity"], "verity"),
    ]
    with disk_errors(directory):
        root, verity = (
            _part(raw, part.start, size, directory / f"{name}_{part.uuid}.{suffix}")
            for part, size, suffix in slots
        )
        uki = _uki(raw, disk["esp"].start, directory / f"{name}.efi", toolbox)
        pieces = root.with_name(f"{root.name}{delta.PIECES}")
        parts = [delta.root(root, pieces, toolbox=toolbox), delta.verity(verity), delta.uki(uki)]
        index = directory / f"{name}{delta.SUFFIX}"
        index.write_bytes(delta.encode({part.kind: part for part in parts}))
        packed = [_pack(root, toolbox), _pack(verity, toolbox)]
    return [*packed, uki, pieces, index]


def _part(raw: Path, start: int, size: int, output: Path) -> Path:
    sparse.extract(raw, output, offset=start, size=size)
    return output


def _pack(path: Path, toolbox: Toolbox) -> Path:
    toolbox.run("xz", _LEVEL, _BLOCK, "-T0", "--quiet", str(path), timeout=_TIMEOUT)
    return path.with_name(f"{path.name}.xz")


def _uki(raw: Path, start: int, output: Path, toolbox: Toolbox) -> Path:
    try:
        names = fat.names(raw, _ENTRIES, offset=start, toolbox=toolbox)
        if len(names) != 1:
            raise ImageError(f"{raw.name} holds {len(names)} boot entries, expected one")
        fat.extract(raw, f"{_ENTRIES}/{names[0]}", output, offset=start, toolbox=toolbox)
    except ToolError as error:
        raise ImageError(f"the EFI system partition of {raw.name} cannot be read") from error
    return output
