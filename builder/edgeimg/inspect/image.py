"""What an image file holds, read from nothing but the file itself."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError, ToolError
from edgeimg.image import manifest, sparse
from edgeimg.image.manifest import Contents
from edgeimg.image.partitions import DiskPlan, Partition
from edgeimg.pack import disk, erofs, fat, uki, verity
from edgeimg.pack.uki import Uki
from edgeimg.tools import Toolbox

_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_LARGEST = 1 << 36
"""Bytes that an image is unpacked to at most: no gateway image comes near 64 GiB."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result of `inspect`."""

    path: Path
    size: int
    """Bytes of the file."""
    disk: DiskPlan
    boot_entry: str
    """File name of the UKI."""
    uki: Uki
    root_hash: str
    """Proven: every block of the root was checked against it."""
    os_release: Mapping[str, str]
    contents: Contents

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            **self.contents.to_json(),
            "file": str(self.path),
            "size": self.size,
            "disk": asdict(self.disk),
            "root_hash": self.root_hash,
            "boot_entry": self.boot_entry,
            "uki": asdict(self.uki),
            "os_release": dict(self.os_release),
        }


def inspect(path: Path, *, toolbox: Toolbox, work: Path | None = None) -> Inspection:
    """Read the image `path` (.raw or .raw.zst), and check its root against its root hash.

    Temporary files go to a directory below `work`. Raises ImageError when the file is no
    image of ours or is damaged, HostError when the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="edgeimg-inspect.", dir=work) as name:
        scratch = Path(name)
        raw = _raw(path, scratch)
        layout = disk.read(raw, name=path.name, toolbox=toolbox)
        entry, kernel = _boot_entry(raw, layout, scratch, toolbox)
        root_hash = kernel.root_hash
        if root_hash is None or len(root_hash) != 64:
            raise ImageError(f"the boot entry {entry} of {path.name} names no root hash")
        root = _root(raw, layout, root_hash, scratch, toolbox)
        return Inspection(
            path=path,
            size=path.stat().st_size,
            disk=layout,
            boot_entry=entry,
            uki=kernel,
            root_hash=root_hash,
            os_release=uki.parse_os_release(
                erofs.read(root, "usr/lib/os-release", toolbox=toolbox)
            ),
            contents=Contents.from_json(erofs.read(root, manifest.PATH, toolbox=toolbox)),
        )


def _raw(path: Path, scratch: Path) -> Path:
    """The disk image itself, unpacked when it is compressed."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                return path
            file.seek(0)
            return unpack(file, scratch / "disk.raw", name=path.name)
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a directory") from error


def unpack(file: BinaryIO, output: Path, *, name: str) -> Path:
    """Decompress a .raw.zst to the sparse file `output` and return it.

    Raises ImageError when it is damaged or ends early, HostError when the disk is full.
    """
    try:
        size = zstandard.frame_content_size(file.read(32))
    except zstandard.ZstdError:
        size = 0
    file.seek(0)
    if not 0 < size <= _LARGEST:
        raise ImageError(f"{name} is no compressed disk image")
    position = 0
    try:
        with disk_errors(output), output.open("wb") as raw:
            raw.truncate(size)
            for chunk in zstandard.ZstdDecompressor().read_to_iter(file, write_size=_CHUNK):
                if chunk.count(0) != len(chunk):
                    raw.seek(position)
                    raw.write(chunk)
                position += len(chunk)
    except zstandard.ZstdError as error:
        raise ImageError(f"{name} is damaged: {error}", hint="download it again") from error
    if position != size:
        raise ImageError(f"{name} ends early: {position} of {size} bytes", hint="download it again")
    return output


def _boot_entry(raw: Path, layout: DiskPlan, scratch: Path, toolbox: Toolbox) -> tuple[str, Uki]:
    esp = _partition(layout, disk.ESP_TYPE, "EFI system partition")
    entries = "EFI/Linux"
    try:
        names = fat.names(raw, entries, offset=esp.start, toolbox=toolbox)
        if not names:
            raise ImageError("the EFI system partition holds no boot entry")
        # systemd-boot starts the newest; a freshly built image has one.
        name = sorted(names)[-1]
        copy = scratch / "uki.efi"
        fat.extract(raw, f"{entries}/{name}", copy, offset=esp.start, toolbox=toolbox)
    except ToolError as error:
        raise ImageError("the EFI system partition is damaged or has no boot entry") from error
    return name, uki.read(copy)


def _partition(layout: DiskPlan, kind: str, what: str) -> Partition:
    for part in layout.partitions:
        if kind in (part.type, part.uuid):
            return part
    raise ImageError(f"the image has no {what}")


def _root(raw: Path, layout: DiskPlan, root_hash: str, scratch: Path, toolbox: Toolbox) -> Path:
    """A copy of the root file system, every block of which matches the root hash."""
    root, hashes = scratch / "root", scratch / "root-verity"
    for path, uuid in zip((root, hashes), disk.verity_uuids(root_hash), strict=True):
        part = _partition(layout, uuid, f"partition {uuid}, which its boot entry names")
        with disk_errors(scratch):
            sparse.extract(raw, path, offset=part.start, size=part.size)
    verity.verify(root, hashes, root_hash, toolbox=toolbox)
    return root
