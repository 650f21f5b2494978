"""What a container is made of, wherever in a recipe it is: packages, a program, an image."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from edgeimg import builtin
from edgeimg.recipe.image_name import MAX_LENGTH, PATTERN, is_valid
from edgeimg.recipe.types import ArchKey, OverlayPath, PackageName
from edgeimg.text.validation import Table


def _absolute(path: str) -> str:
    parts = path.split("/")[1:]
    if not path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ValueError("expected an absolute path such as '/var/lib/data'")
    return path


def _image(reference: str) -> str:
    if not is_valid(reference):
        raise ValueError("expected an image such as 'registry.example/app:1'")
    return reference


def _archive(text: str) -> str:
    file, colon, tag = _parted(text)
    if not file or (colon and not _TAG.fullmatch(tag)):
        raise ValueError("expected a file, or FILE:TAG for one of several images in it")
    return text


def _parted(text: str) -> tuple[str, str, str]:
    """File, colon and tag; the prefix of built-in parts has a colon of its own."""
    prefix = builtin.PREFIX if text.startswith(builtin.PREFIX) else ""
    file, colon, tag = text.removeprefix(prefix).partition(":")
    return prefix + file, colon, tag


_TAG = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9_.:/@\[\]-]{0,511}")
AbsolutePath = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00-\x20:,\"'%\\]{0,255}$"), AfterValidator(_absolute)
]
Argument = Annotated[str, StringConstraints(pattern=r"^[^\x00]{0,4096}$")]
ImageReference = Annotated[
    str, StringConstraints(pattern=PATTERN, max_length=2 * MAX_LENGTH), AfterValidator(_image)
]
ArchiveFile = Annotated[OverlayPath, AfterValidator(_archive)]
"""`FILE` or `FILE:TAG`."""
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class Contents(Table):
    """What a container is made of: one of packages, a static program, a container image."""

    packages: tuple[PackageName, ...] = Field(
        (), description="Debian packages that the container is made of, with their dependencies"
    )
    exclude: tuple[PackageName, ...] = Field(
        (), description="packages to leave out even where others depend on them"
    )
    binary: OverlayPath | dict[ArchKey, OverlayPath] | None = Field(
        None,
        description="or a static program, relative to the project; '{arch}' in its path stands for "
        "the architecture's name",
    )
    image: ImageReference | dict[ArchKey, ImageReference] | None = Field(
        None,
        description="or a container image that a Docker engine pulls or has built: "
        "'registry/name:tag', or one for each architecture; the lock holds its digest for each",
    )
    archive: ArchiveFile | None = Field(
        None,
        description="or a container image in the project: an OCI layout (directory or tar), or "
        "what `docker save` wrote; 'FILE:TAG' takes one of several images, by its tag or its whole "
        "name; '{arch}' stands for the architecture's name",
    )
    files: OverlayPath | None = Field(
        None, description="directory of the project with files on top, shaped like the container"
    )

    @property
    def of_image(self) -> bool:
        """Whether it is made of a container image."""
        return bool(self.image or self.archive)

    def reference(self, arch: str) -> str:
        """The container image for one architecture, as it is called or as a path; or empty."""
        value = self.image.get(arch) if isinstance(self.image, dict) else self.image
        return value or (self.archive or "").replace("{arch}", arch)

    def source(self, arch: str) -> tuple[str, str]:
        """The key that says what it is made of, and what that is for one architecture."""
        if self.packages:
            return "packages", " ".join(self.packages)
        if program := self.program(arch):
            return "binary", program
        return "archive" if self.archive else "image", self.reference(arch)

    def program(self, arch: str) -> str | None:
        """The path in the project of its static program for one architecture, if it has one."""
        value = self.binary.get(arch) if isinstance(self.binary, dict) else self.binary
        return value.replace("{arch}", arch) if value else None

    def image_file(self, arch: str) -> str | None:
        """The path in the project of its container image for one architecture, if it has one."""
        return _parted(self.archive)[0].replace("{arch}", arch) if self.archive else None

    def image_tag(self, arch: str) -> str:
        """The tag or name of the image in that file; empty where the file has one image."""
        return _parted(self.archive)[2].replace("{arch}", arch) if self.archive else ""

    def paths(self, arch: str) -> tuple[str, ...]:
        """All that it takes from the project for one architecture."""
        taken = (self.program(arch), self.image_file(arch), self.files)
        return tuple(path for path in taken if path)
