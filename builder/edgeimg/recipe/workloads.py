"""[workloads.NAME]: what Kubernetes runs from the first boot on, without any network."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edgeimg.recipe.contents import AbsolutePath, Argument, Contents, EnvironmentName
from edgeimg.recipe.types import OverlayPath
from edgeimg.text.validation import Table

WorkloadName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
_NOBODY = "65534:65534"
_REFERENCE = re.compile(
    r"[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


def full_reference(image: str) -> str:
    """An image's name as containerd knows it (distribution/reference): registry, path, tag."""
    name, at, digest = image.partition("@")
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    if not at and ":" not in name.rpartition("/")[2]:
        name = f"{name}:latest"
    return f"{name}{at}{digest}"


def _full(reference: str) -> str:
    full = full_reference(reference)
    if full != reference or not _REFERENCE.fullmatch(reference) or len(reference) > 255:
        near = f"; did you mean '{full}'?" if _REFERENCE.fullmatch(full) else ""
        raise ValueError(f"expected an image with its registry and tag{near}")
    return reference


FullReference = Annotated[str, AfterValidator(_full)]
"""As containerd knows images: 'docker.io/library/nginx:1.29'."""


def short_name(reference: str) -> str:
    """The last part of a reference, without its tag: what a static program is called inside."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


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
        description="what the pods run, by the name that the manifests use: part of the disk "
        "image, started from it, never pulled or removed on the gateway",
    )

    def contents(self) -> dict[str, PodImage]:
        """The images by reference; what is pulled by its name names itself."""
        return {
            name: made
            if made.packages or made.binary or made.of_image
            else made.model_copy(update={"image": name})
            for name, made in self.images.items()
        }
