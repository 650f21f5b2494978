"""The release in the os_list JSON of Raspberry Pi Imager and similar tools."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from edgeimg.image.manifest import encode


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image; sizes are bytes, digests SHA-256."""

    name: str
    arch: str
    download: str
    """File name of the .raw.zst."""
    download_size: int
    download_sha256: str
    raw_size: int
    raw_sha256: str
    epoch: int
    """The image's time stamp, seconds since 1970."""


def document(entries: Sequence[Entry], *, url: str | None) -> bytes:
    """The list; `url` is the place of the published files. Without it names stay relative."""
    base = f"{url.rstrip('/')}/" if url else ""
    return encode(
        {
            "os_list": [
                {
                    "name": entry.name,
                    "description": f"Kubernetes gateway for {entry.arch}, built by edgeimg",
                    "url": f"{base}{entry.download}",
                    "release_date": _date(entry.epoch),
                    "extract_size": entry.raw_size,
                    "extract_sha256": entry.raw_sha256,
                    "image_download_size": entry.download_size,
                    "image_download_sha256": entry.download_sha256,
                    "architecture": entry.arch,
                }
                for entry in entries
            ]
        }
    )


def _date(epoch: int) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).date().isoformat()
