"""What a release adds to each image: its parts as update files, for gateways that have a slot free.

Named as systemd-sysupdate matches them (sysupdate.d(5)): `@v` is the version, `@u` the UUID that
the partition must have, which for root and root-verity are the halves of the root hash.

    <id>_@v_<arch>_@u.root.xz     content of the root slot
    <id>_@v_<arch>_@u.verity.xz   its hash tree
    <id>_@v_<arch>.efi            the UKI
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError, ToolError
from edgeimg.pack import fat
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_ENTRIES = "EFI/Linux"
_LEVEL = "-6"
_BLOCK = "--block-size=24MiB"
"""Bytes depend on the size of blocks, not on how many are packed at once."""
_TIMEOUT = 1800.0


def split(
    raw: Path, name: str, manifest: Mapping[str, Any], directory: Path, *, toolbox: Toolbox
) -> list[Path]:
    """Write the update files of the raw disk image `raw`, described by `manifest`.

    xz, because systemd 257 (Debian 13) unpacks no zstd. Equal images give equal bytes. Raises
    ToolError, HostError, ImageError when the image is not what its manifest says.
    """
    try:
        parts = {part["name"]: part for part in manifest["disk"]["partitions"]}
        root, verity, esp = parts["root-a"], parts["root-a-verity"], parts["esp"]
        sizes = manifest["sizes"]
        slots = [(root, sizes["root"], "root"), (verity, sizes["verity"], "verity")]
        plans = [
            (part["start"], size, directory / f"{name}_{part['uuid']}.{suffix}")
            for part, size, suffix in slots
        ]
    except (KeyError, TypeError) as error:
        raise ImageError(f"the manifest of {name} is damaged: {error}") from error
    return [
        *(_slot(raw, start, size, path, toolbox) for start, size, path in plans),
        _uki(raw, esp["start"], directory / f"{name}.efi", toolbox),
    ]


def _slot(raw: Path, start: int, size: int, output: Path, toolbox: Toolbox) -> Path:
    with disk_errors(output):
        sparse.extract(raw, output, offset=start, size=size)
        toolbox.run("xz", _LEVEL, _BLOCK, "-T0", "--quiet", str(output), timeout=_TIMEOUT)
    return output.with_name(f"{output.name}.xz")


def _uki(raw: Path, start: int, output: Path, toolbox: Toolbox) -> Path:
    try:
        names = fat.names(raw, _ENTRIES, offset=start, toolbox=toolbox)
        if len(names) != 1:
            raise ImageError(f"{raw.name} holds {len(names)} boot entries, expected one")
        fat.extract(raw, f"{_ENTRIES}/{names[0]}", output, offset=start, toolbox=toolbox)
    except ToolError as error:
        raise ImageError(f"the EFI system partition of {raw.name} cannot be read") from error
    return output
