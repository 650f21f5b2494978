"""The contents of an image file, read from the file alone."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError, ToolError
from edgeimg.image import manifest
from edgeimg.image.manifest import Contents
from edgeimg.image.partitions import DiskPlan, Partition
from edgeimg.image.raw import is_compressed, unpack
from edgeimg.pack import disk, erofs, fat, gpt, uki, verity
from edgeimg.pack.uki import Uki
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_SHA256 = re.compile(r"[0-9a-f]{64}")


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


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An image that is being read."""

    disk: DiskPlan
    boot_entry: str
    uki: Uki
    root_hash: str
    root: Path
    """A copy of the root file system (EROFS). Every block of it matches the root hash."""

    def contents(self, toolbox: Toolbox) -> Contents:
        """What the root says of itself. Raises ImageError."""
        return Contents.from_json(erofs.read(self.root, manifest.PATH, toolbox=toolbox))


@contextmanager
def open_image(path: Path, *, toolbox: Toolbox, work: Path | None = None) -> Iterator[Opened]:
    """The image `path` (.raw or .raw.zst), its root checked against its root hash.

    Temporary files go to a directory below `work`, which is removed. Raises ImageError when
    the file is no edgeimg image or is damaged, HostError when the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="edgeimg-inspect.", dir=work) as name:
        scratch = Path(name)
        raw = path
        if is_compressed(path):
            raw = scratch / "disk.raw"
            unpack(path, raw)
        layout = disk.read(raw, name=path.name, toolbox=toolbox)
        gpt.verify(raw, name=path.name)
        entry, kernel = _boot_entry(raw, layout, scratch, toolbox)
        root_hash = kernel.root_hash
        if root_hash is None or not _SHA256.fullmatch(root_hash):
            raise ImageError(f"the boot entry {entry} of {path.name} names no root hash")
        root = _root(raw, layout, root_hash, scratch, toolbox)
        yield Opened(disk=layout, boot_entry=entry, uki=kernel, root_hash=root_hash, root=root)


def inspect_image(path: Path, *, toolbox: Toolbox, work: Path | None = None) -> Inspection:
    """Read the image `path`; see `open_image`."""
    with open_image(path, toolbox=toolbox, work=work) as image:
        return Inspection(
            path=path,
            size=path.stat().st_size,
            disk=image.disk,
            boot_entry=image.boot_entry,
            uki=image.uki,
            root_hash=image.root_hash,
            os_release=uki.parse_os_release(
                erofs.read(image.root, "usr/lib/os-release", toolbox=toolbox)
            ),
            contents=image.contents(toolbox),
        )


def _boot_entry(raw: Path, layout: DiskPlan, scratch: Path, toolbox: Toolbox) -> tuple[str, Uki]:
    esp = _partition(layout, disk.ESP_TYPE, "EFI system partition")
    entries = "EFI/Linux"
    place = {"offset": esp.start, "size": esp.size}
    try:
        names = fat.names(raw, entries, **place, toolbox=toolbox)
        if not names:
            raise ImageError("the EFI system partition holds no boot entry")
        # systemd-boot starts the newest; a freshly built image has one.
        name = sorted(names)[-1]
        copy = scratch / "uki.efi"
        fat.extract(raw, f"{entries}/{name}", copy, **place, toolbox=toolbox)
    except ToolError as error:
        raise ImageError("the EFI system partition is damaged or has no boot entry") from error
    return name, uki.read(copy)


def _partition(layout: DiskPlan, kind: str, title: str) -> Partition:
    for part in layout.partitions:
        if kind in (part.type, part.uuid):
            return part
    raise ImageError(f"the image has no {title}")


def _root(raw: Path, layout: DiskPlan, root_hash: str, scratch: Path, toolbox: Toolbox) -> Path:
    """A copy of the root file system, every block of which matches the root hash."""
    root, hashes = scratch / "root", scratch / "root-verity"
    for path, uuid in zip((root, hashes), disk.verity_uuids(root_hash), strict=True):
        part = _partition(layout, uuid, f"partition {uuid}, which its boot entry names")
        with disk_errors(scratch):
            sparse.extract(raw, path, offset=part.start, size=part.size)
    verity.verify(root, hashes, root_hash, toolbox=toolbox)
    return root
