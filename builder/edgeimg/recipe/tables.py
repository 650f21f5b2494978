"""The tables of a recipe that are a few keys each; larger ones have modules of their own."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from edgeimg.recipe.types import (
    ARCHITECTURE_NAMES,
    COMPRESSION,
    Accepted,
    ArchName,
    Component,
    Gate,
    ImageId,
    ImageVersion,
    LinkTarget,
    MaskPath,
    ModuleGlob,
    OverlayPath,
    PackageName,
    PackagePattern,
    PathGlob,
    Port,
    RoomSize,
    RootPath,
    Size,
    Suite,
    ToolGroup,
    Word,
)
from edgeimg.streams.limits import IMAGE
from edgeimg.text.validation import Table

_LARGEST = IMAGE.bytes - (16 << 20)
"""Bytes of all partitions; the rest is for partition tables and a board's boot loader."""


class Image(Table):
    """Name, version and partition sizes of the image."""

    id: ImageId = Field("gateway", description="IMAGE_ID in os-release; first part of file names")
    version: ImageVersion = Field("0.1.0", description="IMAGE_VERSION; no '_' or '+'")
    architectures: tuple[ArchName, ...] = Field(
        ARCHITECTURE_NAMES,
        min_length=1,
        description="architectures of the image, for `--arch all` and `edgeimg lock`",
    )
    hostname: str = Field(
        "gateway",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="host name, and the name of the Kubernetes node",
    )
    epoch: int = Field(
        1767225600,
        ge=315532800,
        lt=1 << 32,
        description="time stamp of every file and clock floor of the guest, "
        "seconds since 1970; SOURCE_DATE_EPOCH overrides it",
    )
    esp: RoomSize = Field(128 << 20, ge=34 << 20, description="size of the EFI system partition")
    slot: RoomSize = Field(320 << 20, description="size of each root slot (A and B)")
    verity: RoomSize = Field(8 << 20, description="size of each slot's hash tree")
    config: RoomSize = Field(
        32 << 20,
        ge=9 << 20,
        le=1 << 30,
        description="size of the provisioning partition (FAT16)",
    )
    compression: str = Field(
        "lz4hc,9",
        pattern=COMPRESSION,
        description="mkfs.erofs -z of the root file system, or 'none'",
    )

    @model_validator(mode="after")
    def _is_within_the_limit_of_readers(self) -> Self:
        whole = self.esp + 2 * (self.slot + self.verity) + self.config
        if whole > _LARGEST:
            raise ValueError(
                f"its partitions have {whole / (1 << 30):.1f} GiB: "
                f"expected at most {_LARGEST >> 30}"
            )
        return self


class Packages(Table):
    """The Debian packages of the root file system."""

    suite: str = Field("trixie", pattern=r"^[a-z]+$", description="Debian suite")
    components: tuple[Component, ...] = Field(
        (),
        description="components of the suite besides 'main': 'contrib', 'non-free', "
        "'non-free-firmware'",
    )
    pin: dict[PackagePattern, Suite] = Field(
        default_factory=dict,
        description="packages that come from another suite, such as 'trixie-backports', 'testing' "
        "or 'experimental': the suite by name or glob ('linux-image-*'). Their dependencies come "
        "from the suite of the recipe, unless these are pinned too",
    )
    include: tuple[PackageName, ...] = Field(
        (),
        description="packages to install, with their dependencies (recommended ones are left out)",
    )
    exclude: tuple[PackageName, ...] = Field(
        (), description="packages to leave out even where others depend on them"
    )
    prune: tuple[PathGlob, ...] = Field(
        (),
        description="paths to leave out of the root, as globs without the leading '/'; "
        "'!glob' keeps paths that edgeimg's own list omits",
    )
    tools: tuple[ToolGroup, ...] = Field(
        (), description="more tools of the build host: 'iso' writes the CD images of the installer"
    )


class Kernel(Table):
    """The kernel, its command line and its modules."""

    package: PackageName | None = Field(None, description="kernel package; default by architecture")
    deb: OverlayPath | None = Field(
        None,
        description="or a vendor's kernel: its Debian package, a file of the project; '{arch}' "
        "in the path stands for the architecture's name. The lock holds its digest",
    )
    files: OverlayPath | None = Field(
        None,
        description="or a vendor's kernel: a directory of the project, laid out as a kernel "
        "package: boot/vmlinuz-VERSION, boot/config-VERSION, lib/modules/VERSION; '{arch}' as in "
        "'deb'. The lock holds its digest",
    )
    cmdline: tuple[Word, ...] = Field(
        (), max_length=32, description="words added to the kernel command line"
    )
    modules: tuple[ModuleGlob, ...] = Field(
        (),
        description="modules of the root: names, globs over their "
        "paths ('drivers/net/usb/*'), with dependencies",
    )
    exclude: tuple[ModuleGlob, ...] = Field(
        (), description="modules to leave out, as names or globs"
    )
    initrd: tuple[ModuleGlob, ...] = Field((), description="modules of the initrd")

    @model_validator(mode="after")
    def _is_one_kernel(self) -> Self:
        names = [name for name in ("package", "deb", "files") if getattr(self, name)]
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} name a kernel each: leave out all but one")
        return self

    @property
    def is_vendors(self) -> bool:
        """Whether the kernel is in the project."""
        return bool(self.deb or self.files)

    def path(self, arch: str) -> str:
        """The path in the project of a vendor's kernel for one architecture."""
        return (self.deb or self.files or "").replace("{arch}", arch)


class Firmware(Table):
    """Firmware files of the root, out of Debian's packages."""

    packages: tuple[PackageName, ...] = Field(
        (),
        description="packages that firmware is taken from, of 'main' and 'non-free-firmware'; "
        "without 'modules' and 'files', all their firmware",
    )
    modules: tuple[ModuleGlob, ...] = Field(
        (),
        description="kernel modules, as names or globs over their paths: the files that these and "
        "the modules they depend on ask for",
    )
    files: tuple[PathGlob, ...] = Field(
        (), description="files, as globs over their paths below /usr/lib/firmware"
    )

    microcode: bool = Field(
        False,
        description="microcode of Intel's and AMD's processors in the UKI of x86-64; some 15 MB",
    )

    @model_validator(mode="after")
    def _files_come_from_packages(self) -> Self:
        if (self.modules or self.files) and not self.packages:
            raise ValueError("name the packages that the files are in, such as 'firmware-realtek'")
        return self


class Overlay(Table):
    """Files of the project, shaped like the root."""

    paths: tuple[OverlayPath, ...] = Field(
        (),
        description="directories of the project, or built-in ones such as "
        "'edgeimg:overlays/base'; later ones on top",
    )
    mask: tuple[MaskPath, ...] = Field(
        (),
        description="paths in the image that become links to /dev/null, which masks units, "
        "generators and files of tmpfiles.d; '!path' takes one off. A file of an overlay wins",
    )
    links: dict[RootPath, LinkTarget] = Field(
        default_factory=dict,
        description="symbolic links by their path in the image: their targets; an empty target "
        "takes one off. A file of an overlay wins",
    )

    @model_validator(mode="after")
    def _one_link_for_a_path(self) -> Self:
        if both := sorted(self.masked & {path for path, target in self.links.items() if target}):
            raise ValueError(f"{both[0]} is in mask and in links: take it off with '!{both[0]}'")
        return self

    @property
    def masked(self) -> frozenset[str]:
        """The paths that become links to /dev/null."""
        found: set[str] = set()
        for path in self.mask:
            if path.startswith("!"):
                found.discard(path[1:])
            else:
                found.add(path)
        return frozenset(found)

    @property
    def symlinks(self) -> dict[str, str]:
        """Every link of `mask` and `links`: its target by its path in the image."""
        masks = dict.fromkeys(self.masked, "/dev/null")
        return masks | {path: target for path, target in self.links.items() if target}


class Budget(Table):
    """Largest sizes. The build fails if one is exceeded; for `writes`, the smoke test."""

    download: Size | None = Field(None, description=".raw.zst")
    root: Size | None = Field(None, description="content of the root slot")
    uki: Size | None = Field(None, description="kernel, initrd and command line")
    initrd: Size | None = Field(None, description="compressed initrd")
    writes: Size | None = Field(
        None,
        description="written to the data partition in an hour at rest; `edgeimg smoke` measures "
        "it in the second boot, which takes 75 s more",
    )
    components: dict[str, Size] = Field(
        default_factory=dict,
        description="bytes in the root by component, such as 'k3s' or 'package:systemd'",
    )


class Release(Table):
    """How images are released. It does not change images."""

    allow: tuple[Gate, ...] = Field(
        (), description="gates that do not hold a release back; recorded in the release"
    )
    key: OverlayPath | None = Field(
        None, description="public key file, relative to the project, that releases are checked with"
    )
    url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="where releases are published"
    )


class Check(Table):
    """Accepted findings and open ports. It does not change images."""

    accept: tuple[Accepted, ...] = Field(
        (),
        description="accepted findings, as 'RULE:PLACE'; the place is a path in the "
        "image or a glob over paths, without the leading '/', or an option, a port, a parameter",
    )
    listening: tuple[Port, ...] = Field(
        ("6443/tcp", "10250/tcp", "8472/udp", "68/udp", "546/udp"),
        description="ports that a gateway may listen on beyond itself: '6443/tcp', "
        "'30000-32767/tcp'. By default the API server, the kubelet, flannel's tunnels and the "
        "DHCP clients",
    )
