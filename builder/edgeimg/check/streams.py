"""Content inside content: the members of archives, however packed, in one pass over the bytes."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace

from edgeimg.errors import ArchiveError
from edgeimg.streams import decoding, tar
from edgeimg.streams.decoding import Peeked, Source, Stream
from edgeimg.streams.limits import UNTRUSTED

DEEPEST = 6
"""Archives in archives that are looked into."""
MOST = 2 << 30
"""Bytes that one file may unpack to."""
_ZIP = 256 << 20


class Unreadable(Exception):  # noqa: N818
    """An archive that is damaged, or unpacks to too much."""


DAMAGE = (
    *decoding.DAMAGE, ArchiveError, OSError, ValueError, tarfile.TarError, zipfile.BadZipFile,
    NotImplementedError, RuntimeError,
)  # fmt: skip
"""Errors of reading a damaged archive, also while one of its contents is read."""


def leaves(source: Source, name: str = "", depth: int = 0) -> Iterator[tuple[str, Peeked]]:
    """The contents in a stream: itself, or what its archive holds, by member (`a!b` is b in a).

    Each must be read before the next is asked for. Raises Unreadable, after all that could be
    read, for an archive that is damaged, too large, or nested too deeply.
    """
    peeked = Peeked(source)
    try:
        inner = _unpacked(peeked)
        if inner is None:
            yield name, peeked
            return
        if depth >= DEEPEST:
            raise Unreadable(f"it holds archives in archives, {DEEPEST} deep")
        for member, stream in inner:
            yield from leaves(
                stream, f"{name}!{member}" if name and member else name + member, depth + 1
            )
    except ArchiveError as error:
        raise Unreadable(error.message) from error
    except DAMAGE as error:
        raise Unreadable(f"it is damaged: {error}") from error


def _unpacked(peeked: Peeked) -> Iterator[tuple[str, Source]] | None:
    """The members, or None when the stream is no archive. A compressed stream has one: ""."""
    start = peeked.start
    if method := decoding.recognise(start):
        limits = replace(UNTRUSTED, bytes=MOST)
        return iter((("", Stream(peeked, "it", method=method, limits=limits)),))
    if start[257:262] == b"ustar":
        return _tar(peeked)
    if start.startswith(b"PK\x03\x04"):
        return _zip(peeked)
    return None


def _tar(source: Source) -> Iterator[tuple[str, Source]]:
    with tar.opened(source, "it", seekable=False) as (archive, members):
        for member in members:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member.name.removeprefix("./"), stream


def _zip(source: Source) -> Iterator[tuple[str, Source]]:
    data = source.read(_ZIP + 1)
    if len(data) > _ZIP:
        raise Unreadable(f"a zip archive of more than {_ZIP >> 20} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST:
            raise Unreadable(f"it unpacks to more than {MOST >> 20} MiB")
        for name in archive.namelist():
            with archive.open(name) as stream:
                yield name, stream
