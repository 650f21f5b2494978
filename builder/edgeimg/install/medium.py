"""The installer without partitions: a CD image, or one kernel image for the network.

Both hold the same ISO 9660 file system. `system/` has the root and its hash tree, named by the root
hash, and `installer/` what a stick has in the directory of that name (docs/adr/0023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg import tree
from edgeimg.arch import Arch
from edgeimg.cache.store import disk_errors
from edgeimg.image.manifest import Manifest
from edgeimg.image.raw import unpack
from edgeimg.install.stick import DIRECTORY
from edgeimg.pack import cpio, fat, iso, uki
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox
from edgeimg.tree import Span, Tree

_SYSTEM = "system"
_ENTRIES = "EFI/Linux"
_FILE = "medium.iso"
"""The file system within the initrd; `init` looks for it."""
_ALIGNMENT = 1 << 20
_OVERHEAD = 4 << 20
"""Bytes of the tables of the boot partition, rounded up."""


@dataclass(frozen=True, kw_only=True)
class System:
    """The system of an installer's image, as files in a directory for temporary files."""

    root_hash: str
    root: Path
    verity: Path
    uki: Path

    @property
    def files(self) -> dict[str, Path]:
        """Place on the medium → file."""
        return {
            f"{_SYSTEM}/{self.root_hash}.root": self.root,
            f"{_SYSTEM}/{self.root_hash}.verity": self.verity,
        }


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes media for an architecture. Every time stamp is `epoch` (seconds)."""

    arch: Arch
    epoch: int
    pack: Toolbox
    """The tools of the group `pack`."""
    iso: Toolbox
    """The tools of the group `iso`."""

    def read(self, image: Path, manifest: Manifest, work: Path) -> System:
        """The parts of a built image, in the directory `work`.

        Raises ImageError, ToolError, HostError.
        """
        raw = work / "disk.raw"
        system = System(
            root_hash=manifest.root_hash,
            root=work / "root",
            verity=work / "verity",
            uki=work / "uki.efi",
        )
        parts = (("root", "root-a", system.root), ("verity", "root-a-verity", system.verity))
        with disk_errors(work):
            unpack(image, raw)
            for name, partition, path in parts:
                start = manifest.disk[partition].start
                sparse.extract(raw, path, offset=start, size=manifest.sizes[name])
            esp = manifest.disk["esp"]
            place = {"offset": esp.start, "size": esp.size}
            (entry,) = fat.names(raw, _ENTRIES, **place, toolbox=self.pack)
            fat.extract(raw, f"{_ENTRIES}/{entry}", system.uki, **place, toolbox=self.pack)
            raw.unlink()
        return system

    def write_disc(self, system: System, files: Mapping[str, Path], output: Path) -> None:
        """Write the image of a CD that starts with UEFI. `files` have their places in `installer/`.

        Raises ToolError, HostError.
        """
        esp = system.uki.with_name("esp.fat")
        size = system.uki.stat().st_size + _OVERHEAD
        with disk_errors(output):
            fat.make(
                esp, {f"EFI/BOOT/BOOT{self.arch.efi.upper()}.EFI": system.uki},
                size=-(-size // _ALIGNMENT) * _ALIGNMENT, bits=16, label="ESP",
                volume_id=int(system.root_hash[:8], 16), epoch=self.epoch, toolbox=self.pack,
            )  # fmt: skip
            iso.make(output, _all(system, files), esp=esp, epoch=self.epoch, toolbox=self.iso)

    def write_kernel(
        self, system: System, files: Mapping[str, Path], output: Path, *, stub: Path
    ) -> None:
        """Write a kernel image (UKI) that holds all of it. `stub` is what UKIs are made from.

        Raises ToolError, HostError.
        """
        inner, archive = system.uki.with_name(_FILE), system.uki.with_name("medium.cpio")
        with disk_errors(output):
            iso.make(inner, _all(system, files), epoch=self.epoch, toolbox=self.iso)
            whole = tree.file(Span(inner, 0, inner.stat().st_size))
            archive.write_bytes(cpio.archive(Tree({_FILE: whole})))
            uki.extend(
                system.uki, output, initrd=archive, stub=stub, arch=self.arch, epoch=self.epoch,
                toolbox=self.pack,
            )  # fmt: skip


def _all(system: System, files: Mapping[str, Path]) -> dict[str, Path]:
    return {**system.files, **{f"{DIRECTORY}/{place}": path for place, path in files.items()}}
