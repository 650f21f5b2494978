"""[workloads.NAME]: what Kubernetes runs from the first boot on, without any network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from edgeimg.recipe.contents import AbsolutePath, Argument, Contents, EnvironmentName
from edgeimg.recipe.image_name import full_reference, is_valid, names_all
from edgeimg.recipe.types import OverlayPath
from edgeimg.text.validation import Table

DISABLED_KINDS = "disabled-kinds"
"""Name of edgeimg's own manifest, which refuses what [k3s.config] disables."""


def _not_reserved(name: str) -> str:
    if name == DISABLED_KINDS:
        raise ValueError("edgeimg has a manifest of this name: choose another one")
    return name


WorkloadName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"),
    AfterValidator(_not_reserved),
]
_NOBODY = "65534:65534"


def _full(reference: str) -> str:
    full = full_reference(reference)
    if not is_valid(reference) or not names_all(reference):
        near = f"; did you mean '{full}'?" if is_valid(full) else ""
        raise ValueError(f"expected an image with its registry and tag{near}")
    return full


FullReference = Annotated[str, AfterValidator(_full)]
"""A name with its registry and tag or digest, as containerd keeps it; see `image_name`."""


class PodImage(Contents):
    """A container image for pods. With nothing said, a Docker engine pulls it by its name."""

    command: tuple[Argument, ...] = Field(
        (),
        description="program and arguments (ENTRYPOINT of Docker); manifests may override them",
    )
    environment: dict[EnvironmentName, Argument] = Field(default_factory=dict)
    workdir: AbsolutePath | Literal["/"] | None = Field(
        None, description="working directory; default: the container image's, or /"
    )
    user: Annotated[str, StringConstraints(pattern=r"^\d{1,10}(:\d{1,10})?$")] | None = Field(
        None,
        description="number of the user, or 'user:group'; default: the container image's, or "
        f"'{_NOBODY}'",
    )

    @property
    def numbers(self) -> str:
        """`user:group` for an image that is composed."""
        return self.user or _NOBODY

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(map(bool, (self.packages, self.binary, self.image, self.archive))) > 1:
            raise ValueError(
                "expected one of 'packages', 'binary', 'image' and 'archive', or none of them for "
                "an image that is pulled by its name"
            )
        return self


class Workload(Table):
    """Objects for Kubernetes, and the images that their pods run."""

    manifests: OverlayPath = Field(
        description="a YAML file of the project, a directory of them, or one with a "
        "kustomization.yaml; K3s applies them at the first boot, and when they change"
    )
    kustomization: OverlayPath | None = Field(
        None,
        description="directory below `manifests` with the kustomization; default: `manifests`",
    )
    images: dict[FullReference, PodImage] = Field(
        default_factory=dict,
        description="what the pods run, by the name that the manifests use, or a list of names: "
        "part of the disk image, started from it, never pulled or removed on the gateway",
    )

    @field_validator(
        "images",
        mode="before",
        json_schema_input_type=dict[FullReference, PodImage] | list[FullReference],
    )
    @classmethod
    def _has_each_once(cls, images: object) -> object:
        if isinstance(images, list) and not all(isinstance(name, str) for name in images):
            raise ValueError("expected names of images")
        names = list(images) if isinstance(images, dict | list) else []
        seen: dict[str, str] = {}
        for name in names:
            full = full_reference(name)
            if full in seen:
                raise ValueError(f"'{seen[full]}' and '{name}' are one image on the gateway")
            seen[full] = name
        return {name: {} for name in names} if isinstance(images, list) else images

    def contents(self) -> dict[str, PodImage]:
        """The images by reference; what is pulled by its name names itself."""
        return {
            name: image
            if image.packages or image.binary or image.of_image
            else image.model_copy(update={"image": name})
            for name, image in self.images.items()
        }
