"""TOML → Recipe: the frozen, validated description of an image."""

from __future__ import annotations

import hashlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from builder.arch import ARCHITECTURES, Arch
from builder.recipe_contents import Contents
from builder.recipe_k3s import K3s, Registry
from builder.recipe_provision import Provisioning
from builder.recipe_services import Service, ServiceName
from builder.recipe_types import (
    ARCHITECTURE_NAMES,
    COMPRESSION,
    Accepted,
    ArchName,
    Gate,
    ImageId,
    ImageVersion,
    ModuleGlob,
    OverlayPath,
    PackageName,
    PathGlob,
    Port,
    RoomSize,
    Size,
    Word,
    parse_size,
)
from builder.recipe_workloads import PodImage, Workload, WorkloadName

__all__ = [
    "Budget",
    "Check",
    "Gate",
    "Image",
    "K3s",
    "Kernel",
    "Overlay",
    "Override",
    "Packages",
    "Recipe",
    "Registry",
    "Release",
    "merge",
    "parse_size",
    "schema",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(_Model):
    """What the image is called and how large its partitions are."""

    id: ImageId = Field("gateway", description="IMAGE_ID in os-release; first part of file names")
    version: ImageVersion = Field("0.1.0", description="IMAGE_VERSION; no '_' or '+'")
    architectures: tuple[ArchName, ...] = Field(
        ARCHITECTURE_NAMES,
        min_length=1,
        description="what the image is made for: what `--arch all` and `edgeimg lock` mean",
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


class Packages(_Model):
    """The Debian packages of the root file system."""

    suite: str = Field("trixie", pattern=r"^[a-z]+$", description="Debian suite")
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
        "'!glob' keeps what edgeimg's own list would leave out",
    )


class Kernel(_Model):
    """The kernel, its command line, and which modules come along."""

    package: PackageName | None = Field(None, description="kernel package; default by architecture")
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


class Overlay(_Model):
    """Files of yours, shaped like the root they land in."""

    paths: tuple[OverlayPath, ...] = Field(
        (), description="directories, relative to the project, later ones on top"
    )


class Budget(_Model):
    """Sizes that must not be exceeded; the build fails when one is, for `writes` the smoke test."""

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


class Release(_Model):
    """How images are released; it changes nothing in them."""

    allow: tuple[Gate, ...] = Field(
        (), description="what would hold a release back, and may pass; written into the release"
    )
    key: OverlayPath | None = Field(
        None, description="public key file, relative to the project, that releases are checked with"
    )
    url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="where releases are published"
    )


class Check(_Model):
    """What the checks may find; it changes nothing in images."""

    accept: tuple[Accepted, ...] = Field(
        (),
        description="findings that are meant to be, as 'RULE:PLACE'; the place is a path in the "
        "image or a glob over paths, without the leading '/', or an option, a port, a parameter",
    )
    listening: tuple[Port, ...] = Field(
        ("6443/tcp", "10250/tcp", "8472/udp", "68/udp", "546/udp"),
        description="ports that a gateway may listen on beyond itself: '6443/tcp', "
        "'30000-32767/tcp'. By default the API server, the kubelet, flannel's tunnels and the "
        "DHCP clients",
    )


class Override(_Model):
    """What differs on one architecture: tables are merged, lists appended, the rest replaced."""

    image: Image | None = None
    packages: Packages | None = None
    kernel: Kernel | None = None
    k3s: K3s | None = None
    services: dict[ServiceName, Service] | None = None
    workloads: dict[WorkloadName, Workload] | None = None
    overlay: Overlay | None = None
    budget: Budget | None = None
    check: Check | None = None


class Recipe(_Model):
    """One image: everything that edgeimg needs to know to build it."""

    image: Image = Field(default_factory=Image)
    packages: Packages = Field(default_factory=Packages)
    kernel: Kernel = Field(default_factory=Kernel)
    k3s: K3s = Field(default_factory=K3s)
    services: dict[ServiceName, Service] = Field(
        default_factory=dict, description="containers that the system runs: [services.ssh] …"
    )
    workloads: dict[WorkloadName, Workload] = Field(
        default_factory=dict, description="what Kubernetes runs from the first boot on"
    )
    overlay: Overlay = Field(default_factory=Overlay)
    budget: Budget = Field(default_factory=Budget)
    check: Check = Field(default_factory=Check)
    release: Release = Field(default_factory=Release)
    provision: Provisioning = Field(default_factory=Provisioning)
    arch: dict[ArchName, Override] = Field(
        default_factory=dict, description="overrides per architecture: [arch.arm.packages] …"
    )

    @model_validator(mode="after")
    def _images_are_of_one_make(self) -> Self:
        for name, workload in self.workloads.items():
            for reference, made in workload.images.items():
                if self.pod_images[reference] != made:
                    raise ValueError(
                        f"workloads.{name}: another workload describes {reference} differently"
                    )
        return self

    @property
    def archs(self) -> tuple[Arch, ...]:
        """What the image is made for."""
        return tuple(arch for arch in ARCHITECTURES if arch.name in self.image.architectures)

    @property
    def pod_images(self) -> dict[str, PodImage]:
        """The images of all workloads, by reference."""
        every = [workload.images for workload in self.workloads.values()]
        return {reference: made for images in every for reference, made in images.items()}

    def contents(self) -> dict[str, Contents]:
        """What every container is made of: `service:NAME`, `image:REFERENCE`."""
        images = {
            f"image:{reference}": made
            for workload in self.workloads.values()
            for reference, made in workload.contents().items()
        }
        return {**{f"service:{name}": made for name, made in self.services.items()}, **images}

    def for_arch(self, arch: Arch) -> Recipe:
        """The recipe with the overrides of one architecture applied, and none left.

        Raises pydantic.ValidationError when the merged values do not fit together.
        """
        base = self.model_dump(exclude={"arch"})  # defaults too: overrides append to their lists
        override = self.arch.get(arch.name)  # type: ignore[call-overload]
        if override is not None:
            base = merge(base, override.model_dump(exclude_unset=True, exclude_none=True))
        return Recipe.model_validate(base)

    def digest(self) -> str:
        """Hex sha256 of what the recipe says of images.

        Comments, order and layout do not count, nor does where a K3s binary lies.
        """
        said = self.model_dump_json(exclude={"release": True, "check": True, "k3s": {"path"}})
        return hashlib.sha256(said.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a recipe, for editors and other programs."""
    described = Recipe.model_json_schema()
    described["properties"]["include"] = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "description": "recipes to start from, relative to this file: tables are merged, lists "
        "appended, the rest replaced by the later file, this one last",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeimg recipe",
        **described,
    }


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged, lists appended, the rest replaced by what `over` says."""
    merged = dict(base)
    for key, value in over.items():
        mine = base.get(key)
        if isinstance(value, dict) and isinstance(mine, dict):
            merged[key] = merge(mine, value)
        elif isinstance(value, list | tuple) and isinstance(mine, list | tuple):
            merged[key] = [*mine, *value]
        else:
            merged[key] = value
    return merged
