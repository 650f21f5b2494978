"""One board: what stands before systemd-boot, and where it is on the disk.

A board has no UEFI in flash. Its ROM reads a boot loader from fixed places of the disk, or files
from the EFI system partition; the boot loader (U-Boot) then starts systemd-boot. Boards are rows of
data: `recipes/boards/*.toml` are edgeimg's, and a project writes its own with the same keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from edgeimg.recipe.types import (
    ArchName,
    Component,
    OverlayPath,
    PackageName,
    RoomSize,
    Size,
    Suite,
)
from edgeimg.text.validation import Table

ENTRY = 128
"""Bytes of one GPT entry (UEFI 2.10, 5.3.2)."""
SECTOR = 512

BoardName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
FileGlob = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f][^\x00-\x1f]{0,255}$")]
"""Of the board's packages and files, without the leading `/`."""
EspPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}/)*([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})?$"
    ),
]
CONSOLE = r"tty[A-Za-z0-9]+(,[0-9a-z]+)?"
"""As the kernel's console= takes it."""
Console = Annotated[str, StringConstraints(pattern=f"^{CONSOLE}$")]


class Emulation(Table):
    """How QEMU runs the board, for `edgeimg smoke --board`."""

    machine: str | None = Field(
        None, pattern=r"^[a-z0-9,=_-]+$", description="QEMU machine; default: the architecture's"
    )
    cpu: str | None = Field(None, pattern=r"^[a-z0-9,=_.-]+$", description="QEMU CPU")
    bios: FileGlob | None = Field(
        None, description="boot loader file that QEMU loads itself: not the board's real path"
    )
    kernel: FileGlob | None = Field(
        None,
        description="boot loader file that QEMU starts in place of a kernel, as a board's "
        "firmware does",
    )
    dtb: FileGlob | None = Field(None, description="device tree that QEMU gives it")
    serial: int = Field(0, ge=0, le=4, description="which serial line of the machine is watched")
    disk: Literal["virtio", "sd"] = Field("virtio", description="what the disk is attached to")
    memory: int | None = Field(None, ge=64, le=65536, description="MiB that the board has")
    processors: int | None = Field(None, ge=1, le=8, description="processors that it must have")
    reaches: Literal["pod", "root"] = Field(
        "pod", description="how far the emulated board gets: a pod, or the verified root"
    )
    lacks: tuple[str, ...] = Field((), description="what the model does not have")


class Board(Table):
    """A board without UEFI: its boot loader's files, their places and the limits of its hardware.

    Only disk and EFI system partition differ from the image without a board.
    """

    name: BoardName = Field(description="a board of edgeimg, or the name of one's own")
    title: str = Field("", max_length=200, description="what hardware it is, for people")
    arch: ArchName = Field(description="architecture")
    packages: tuple[PackageName, ...] = Field(
        (), description="Debian packages with the boot loader and firmware, without dependencies"
    )
    pin: dict[PackageName, Suite] = Field(
        default_factory=dict, description="packages that come from another suite: their suites"
    )
    components: tuple[Component, ...] = Field(
        (), description="components of the archive that the packages are in, besides 'main'"
    )
    files: OverlayPath | None = Field(
        None, description="directory of the project with boot loader files; over the packages'"
    )
    config: FileGlob | None = Field(
        None,
        description="the boot loader's build configuration in packages or files; it must have "
        "CONFIG_FAT_RENAME=y, unless the initrd counts",
    )
    counting: Literal["boot-loader", "initrd"] = Field(
        "boot-loader",
        description="what counts the starts of a new version: 'initrd' for a boot loader without "
        "CONFIG_FAT_RENAME; a start that ends before the initrd is not counted then",
    )
    raw: dict[Size, FileGlob] = Field(
        default_factory=dict,
        description="files of packages or files by their place on the disk: 8 KiB = path",
    )
    esp: dict[EspPath, FileGlob] = Field(
        default_factory=dict,
        description="files by their place in the EFI system partition; a place that ends with '/', "
        "or '' for its root, takes all that the glob fits",
    )
    text: dict[EspPath, str] = Field(
        default_factory=dict, description="text files of the EFI system partition: their contents"
    )
    script: str | None = Field(
        None,
        max_length=4096,
        description="commands that U-Boot runs before it looks for an EFI program: boot.scr",
    )
    entries: int = Field(
        128, ge=8, le=128, multiple_of=4, description="entries of the GPT: 56 end below 8 KiB"
    )
    table: int = Field(
        2, ge=2, le=8192, description="sector of the GPT's entries; 2 unless the ROM wants it"
    )
    first: RoomSize = Field(
        4 << 20, multiple_of=1 << 20, description="start of the first partition"
    )
    hybrid: bool = Field(
        False, description="name the EFI system partition in the MBR, too (Raspberry Pi 3's ROM)"
    )
    consoles: tuple[Console, ...] = Field(
        (), description="serial consoles, as the kernel's console= takes them; the last one counts"
    )
    watchdog: int | None = Field(
        None, ge=2, le=3600, description="longest time of the hardware watchdog, in seconds"
    )
    cmdline: tuple[str, ...] = Field((), description="more words of the kernel command line")
    qemu: Emulation | None = Field(None, description="QEMU's model of it, if there is one")

    @model_validator(mode="after")
    def _table_is_before_the_first_partition(self) -> Self:
        if (end := self.table_end) > self.first:
            raise ValueError(f"the GPT's entries end at {end} bytes, behind first = {self.first}")
        return self

    @property
    def emulator_files(self) -> dict[str, str]:
        """Files that QEMU loads, as globs, by the name of QEMU's option."""
        model = self.qemu
        names = {} if model is None else {
            "bios": model.bios, "kernel": model.kernel, "dtb": model.dtb,
        }  # fmt: skip
        return {option: name for option, name in names.items() if name is not None}

    @property
    def table_end(self) -> int:
        """Byte behind the GPT's entries."""
        return self.table * SECTOR + -(-self.entries * ENTRY // SECTOR) * SECTOR

    @property
    def words(self) -> tuple[str, ...]:
        """What the board adds to the kernel command line of every UKI."""
        limit = [f"systemd.watchdog_sec={self.watchdog}s"] if self.watchdog else []
        counting = ["edgeimg.count=initrd"] if self.counting == "initrd" else []
        consoles = (f"console={console}" for console in self.consoles)
        return (*consoles, *limit, *counting, *self.cmdline)
