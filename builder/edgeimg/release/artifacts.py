"""The update files of each image: its parts, which gateways install into their free slot.

Named as systemd-sysupdate matches them (sysupdate.d(5)): `@v` is the version, `@u` the UUID that
the partition must have, which for root and root-verity are the halves of the root hash.

    <id>_@v_<arch>_@u.root.xz     content of the root slot, as one xz stream for each 64 KiB
    <id>_@v_<arch>_@u.verity.xz   its hash tree
    <id>_@v_<arch>.efi            the UKI
    <id>_@v_<arch>.delta          pieces of root and UKI (release/delta.py)
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
_TIMEOUT = 1800.0


def split(
    raw: Path, name: str, manifest: Manifest, directory: Path, *, toolbox: Toolbox
) -> list[Path]:
    """Write the update files of the raw disk image `raw`, described by `manifest`.

    xz, because systemd 257 (Debian 13) unpacks no zstd. Equal images give equal bytes. Raises
    ToolError, HostError, ImageError when the image does not match its manifest.
    """
    disk, sizes = manifest.disk, manifest.sizes
    slot, tree = disk["root-a"], disk["root-a-verity"]
    root, verity = directory / f"{name}_{slot.uuid}.root", directory / f"{name}_{tree.uuid}.verity"
    packed = root.with_name(f"{root.name}.xz")
    with disk_errors(directory):
        sparse.extract(raw, root, offset=slot.start, size=sizes["root"])
        sparse.extract(raw, verity, offset=tree.start, size=sizes["verity"])
        uki = _uki(raw, disk["esp"].start, directory / f"{name}.efi", toolbox)
        parts = [delta.root(root, packed, toolbox=toolbox), delta.verity(verity), delta.uki(uki)]
        index = directory / f"{name}{delta.SUFFIX}"
        index.write_bytes(delta.encode({part.kind: part for part in parts}))
        root.unlink()
        toolbox.run("xz", "-6", "-T1", "--quiet", str(verity), timeout=_TIMEOUT)
    return [packed, verity.with_name(f"{verity.name}.xz"), uki, index]


def _uki(raw: Path, start: int, output: Path, toolbox: Toolbox) -> Path:
    try:
        names = fat.names(raw, _ENTRIES, offset=start, toolbox=toolbox)
        if len(names) != 1:
            raise ImageError(f"{raw.name} holds {len(names)} boot entries, expected one")
        fat.extract(raw, f"{_ENTRIES}/{names[0]}", output, offset=start, toolbox=toolbox)
    except ToolError as error:
        raise ImageError(f"the EFI system partition of {raw.name} cannot be read") from error
    return output
