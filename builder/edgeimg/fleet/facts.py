"""What a ledger says of an image: name, version, digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import sha256_file
from edgeimg.image.manifest import SUFFIX, Manifest

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
    path = image.with_name(f"{stem(image)}{SUFFIX}")
    if not path.is_file():
        return ImageFacts(file=image.name, digest=digest)
    manifest = Manifest.read(path)
    own = manifest.contents
    return ImageFacts(
        file=image.name,
        digest=digest,
        name=f"{own.id} {own.version} {own.arch}",
        version=own.version,
        arch=own.arch,
        root_hash=manifest.root_hash,
    )


def stem(image: Path) -> str:
    """The name that an image and the files beside it begin with."""
    name = image.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
