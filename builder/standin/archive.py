"""Reproducible tar archives, compressed as K3s compresses its own."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

# K3s compresses with "zstd --long=25", so consumers must allow that window.
WINDOW_LOG = 25
LEVEL = 9


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, a link (with a target) or a folder (with neither) of the bundle."""

    name: str
    content: bytes | None = None
    target: str | None = None


def pack(entries: Sequence[Entry], root: str = "./") -> bytes:
    """Write a tar archive that holds nothing of where and when it was made."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(f"{root}{entry.name}")
            info.mode = 0o755
            if entry.target is not None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
            elif entry.content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(entry.content)
                info.mode = 0o755 if entry.content.startswith(b"\x7fELF") else 0o644
            archive.addfile(info, io.BytesIO(entry.content) if entry.content is not None else None)
    return target.getvalue()


def compress(data: bytes) -> bytes:
    """Compress in one zstd frame. The number of threads, if there are any,
    makes no difference to the result."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(data),
        window_log=WINDOW_LOG,
        enable_ldm=True,
        threads=max(os.cpu_count() or 1, 2),
        write_checksum=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)
