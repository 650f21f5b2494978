"""The whole recipe: its tables, what differs on one architecture, and its schema."""

from __future__ import annotations

import hashlib
from typing import Any, Self

from pydantic import Field, model_validator

from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.recipe.board import Board
from edgeimg.recipe.contents import Contents
from edgeimg.recipe.k3s import K3s
from edgeimg.recipe.provisioning import Provisioning
from edgeimg.recipe.rollout import Rollout
from edgeimg.recipe.services import Service, ServiceName
from edgeimg.recipe.tables import (
    Budget,
    Check,
    Firmware,
    Image,
    Kernel,
    Overlay,
    Packages,
    Release,
)
from edgeimg.recipe.trust import Trust
from edgeimg.recipe.types import ArchName
from edgeimg.recipe.updates import Update
from edgeimg.recipe.workloads import PodImage, Workload, WorkloadName
from edgeimg.text.validation import Table

K3S = "k3s"
"""The table of K3s, and the first part of its consents."""


class Override(Table):
    """What differs on one architecture: tables are merged, lists appended, the rest replaced."""

    image: Image | None = None
    packages: Packages | None = None
    kernel: Kernel | None = None
    firmware: Firmware | None = None
    k3s: K3s | None = None
    services: dict[ServiceName, Service] | None = None
    workloads: dict[WorkloadName, Workload] | None = None
    overlay: Overlay | None = None
    budget: Budget | None = None
    check: Check | None = None


class Recipe(Table):
    """One image: everything that edgeimg needs to know to build it."""

    image: Image = Field(default_factory=Image)
    packages: Packages = Field(default_factory=Packages)
    kernel: Kernel = Field(default_factory=Kernel)
    firmware: Firmware = Field(default_factory=Firmware)
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
    update: Update = Field(default_factory=Update)
    rollout: Rollout | None = Field(
        None, description="the roll-out server that gateways ask for orders"
    )
    provision: Provisioning = Field(default_factory=Provisioning)
    trust: Trust = Field(default_factory=Trust)
    board: Board | None = Field(None, description="the board that the image is for, without UEFI")
    arch: dict[ArchName, Override] = Field(
        default_factory=dict, description="overrides per architecture: [arch.arm.packages] …"
    )

    @model_validator(mode="after")
    def _images_are_of_one_make(self) -> Self:
        for name, workload in self.workloads.items():
            for reference, content in workload.images.items():
                if self.pod_images[reference] != content:
                    raise ValueError(
                        f"workloads.{name}: another workload describes {reference} differently"
                    )
        return self

    @model_validator(mode="after")
    def _nothing_needs_k3s(self) -> Self:
        if self.k3s.is_absent:
            allowed = [name for name in self.provision.allow if name.startswith(f"{K3S}.")]
            without = f"{K3S}.source = 'none' is an image without K3s: leave out"
            if self.workloads:
                names = ", ".join(f"workloads.{name}" for name in sorted(self.workloads))
                raise ValueError(f"{without} {names}")
            if allowed:
                raise ValueError(f"{without} {', '.join(allowed)} of provision.allow")
        return self

    @model_validator(mode="after")
    def _one_decides_on_updates(self) -> Self:
        if self.rollout is not None and self.update.url is None:
            raise ValueError("rollout needs [update] with url and key: it signs what is rolled out")
        if self.rollout is not None and self.update.schedule is not None:
            raise ValueError("rollout and update.schedule: leave one out, only one can decide")
        return self

    @property
    def archs(self) -> tuple[Arch, ...]:
        """What the image is made for."""
        return tuple(arch for arch in ARCHITECTURES if arch.name in self.image.architectures)

    @property
    def pod_images(self) -> dict[str, PodImage]:
        """The images of all workloads, by reference."""
        every = [workload.images for workload in self.workloads.values()]
        return {reference: content for images in every for reference, content in images.items()}

    def contents(self) -> dict[str, Contents]:
        """What every container is made of: `service:NAME`, `image:REFERENCE`."""
        images = {
            f"image:{reference}": content
            for workload in self.workloads.values()
            for reference, content in workload.contents().items()
        }
        return {**{f"service:{name}": content for name, content in self.services.items()}, **images}

    def for_arch(self, arch: Arch) -> Recipe:
        """The recipe with the overrides of one architecture applied, and none left.

        Raises pydantic.ValidationError when the merged values do not fit together.
        """
        base = self.model_dump(exclude={"arch"})  # defaults too: overrides append to their lists
        override = self.arch.get(arch.name)  # type: ignore[call-overload]
        if override is not None:
            over = override.model_dump(exclude_unset=True, exclude_none=True)
            if drops_k3s(over):
                del base[K3S]
            base = merge(base, over)
        return Recipe.model_validate(base)

    def digest(self) -> str:
        """Hex sha256 of what the recipe says of images.

        Comments, order and layout do not count, nor does where a K3s binary lies.
        """
        absent = {name: True for name in ("board", "rollout") if getattr(self, name) is None}
        if self.trust.enroll == "off":
            absent["trust"] = True
        soft = {"path"} | ({"hardening"} if self.k3s.hardening == "off" else set())
        overrides: dict[str, Any] = {
            arch: {
                "k3s": {"hardening"} if one.k3s and one.k3s.hardening == "off" else set(),
                "kernel": _unset(one.kernel),
            }
            for arch, one in self.arch.items()
        }
        text = self.model_dump_json(
            exclude={
                "release": True,
                "check": True,
                "k3s": soft,
                "kernel": _unset(self.kernel),
                "arch": overrides,
                **absent,
            }
        )
        return hashlib.sha256(text.encode()).hexdigest()


def _unset(kernel: Kernel | None) -> set[str]:
    """Keys of a vendor's kernel that are not there: no recipe without one has a new digest."""
    return {name for name in ("deb", "files") if kernel and not getattr(kernel, name)}


def recipe_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a recipe, for editors and other programs."""
    described = Recipe.model_json_schema()
    described["properties"]["include"] = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "description": "recipes to start from: built-in ones such as 'edgeimg:gateway', or files "
        "relative to this one: tables are merged, lists appended, the rest replaced by the later "
        "file, this one last",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeimg recipe",
        **described,
    }


def drops_k3s(over: dict[str, object]) -> bool:
    """Whether a recipe has `[k3s] source = "none"`: what it includes has no say on K3s then."""
    table = over.get(K3S)
    return isinstance(table, dict) and table.get("source") == "none"


def merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
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
