"""The facts of a release: `release.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg.errors import VerifyError
from edgeimg.image.manifest import K3sFacts
from edgeimg.release.gates import Hold
from edgeimg.text import json_text, typed

SCHEMA = "edgeimg-release-1"


@dataclass(frozen=True, kw_only=True)
class ReleasedImage:
    """One image."""

    arch: str
    file: str
    sha256: str
    """Of `file`."""
    root_hash: str
    k3s: K3sFacts | None
    """None: an image without K3s."""
    build: str
    """The key of its build."""


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """One file; size in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """One release."""

    id: str
    version: str
    overrides: tuple[Hold, ...]
    """Gates that were overridden by name."""
    images: tuple[ReleasedImage, ...]
    files: tuple[ReleasedFile, ...]

    @classmethod
    def read(cls, path: Path) -> ReleaseFacts:
        """The facts in a file. Raises VerifyError when they cannot be read or are damaged."""
        try:
            return typed.validate(cls, json_text.read(path))
        except (OSError, json_text.MalformedError) as error:
            raise VerifyError(f"{path} is damaged: {json_text.reason(error)}") from error

    def to_json(self) -> dict[str, object]:
        """Plain values, in the order of the file."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "version": self.version,
            "overrides": [hold.to_json() for hold in self.overrides],
            "images": [asdict(image) for image in self.images],
            "files": [asdict(file) for file in self.files],
        }
