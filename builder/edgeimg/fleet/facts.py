"""What a ledger says of an image: name, version, digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import sha256_file
from edgeimg.errors import ImageError
from edgeimg.text import json_text

_SUFFIXES = (".zst", ".raw")


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """One image file."""

    file: str
    digest: str
    """SHA-256 of the file."""
    name: str = ""
    """As `gateway 1.4.2 arm64`, for people."""
    version: str = ""
    arch: str = ""
    root_hash: str = ""


def read(image: Path) -> ImageFacts:
    """What is known of an image from itself and the manifest beside it; without one, little.

    Raises ImageError when a manifest is there and damaged.
    """
    digest = sha256_file(image)
    manifest = image.with_name(f"{stem(image)}.manifest.json")
    if not manifest.is_file():
        return ImageFacts(file=image.name, digest=digest)
    try:
        told = json_text.read(manifest)
        own = told["image"]
        return ImageFacts(
            file=image.name,
            digest=digest,
            name=f"{own['id']} {own['version']} {own['arch']}",
            version=str(own["version"]),
            arch=str(own["arch"]),
            root_hash=str(told["root_hash"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        raise ImageError(f"{manifest} is damaged", hint="get it once more") from None


def stem(image: Path) -> str:
    """The name that an image and the files beside it begin with."""
    name = image.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
