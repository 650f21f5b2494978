"""Small files and blobs of a container image, read whole: bounded, and by their digests."""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any

from edgeimg.errors import ArchiveError, DigestError
from edgeimg.sources import oci_config
from edgeimg.sources.oci_files import Archive
from edgeimg.text import json_text

_MAX_JSON = 8 << 20
"""Bytes of an index, a manifest or a configuration."""


def parse_json(data: bytes) -> Any:
    """The content of a JSON file of an image. Raises ValueError."""
    return json_text.parse(data, limit=_MAX_JSON)


def read_small(archive: Archive, name: str, label: str) -> bytes:
    """A file of the archive. Raises ArchiveError for a large one, KeyError for a missing one."""
    file, _ = archive.open(posixpath.normpath(name))
    with file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise ArchiveError(f"{label}: {name} is larger than {_MAX_JSON >> 20} MiB")
    return data


def read_blob(archive: Archive, digest: str, label: str) -> bytes:
    """The blob of that digest. Raises DigestError when its content has another one.

    Raises ArchiveError when it is missing.
    """
    try:
        data = read_small(archive, blob_path(digest), label)
    except (KeyError, FileNotFoundError):
        raise ArchiveError(
            f"{label} lacks the blob {digest}",
            hint="pull the image whole, for the gateway's platform, and save it again",
        ) from None
    if digest_of(data) != digest:
        raise DigestError(f"{label}: the blob {digest} has the digest {digest_of(data)}")
    return data


def blob_path(digest: Any) -> str:
    """The path of a blob in an OCI layout. Raises ValueError for what is not a SHA-256."""
    return f"blobs/sha256/{oci_config.digest(digest).partition(':')[2]}"


def digest_of(data: bytes) -> str:
    """`sha256:…`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
