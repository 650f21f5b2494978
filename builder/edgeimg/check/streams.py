"""Content inside content: the members of archives, however packed, in one pass over the bytes."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

DEEPEST = 6
"""Archives in archives that are looked into."""
MOST = 2 << 30
"""Bytes that one file may unpack to."""
_ZIP = 256 << 20
_PEEK = 512


class Source(Protocol):
    """What can be read once."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them without it."""


class Unreadable(Exception):  # noqa: N818
    """An archive that is damaged, or unpacks to too much."""


class Peeked:
    """A stream whose start was looked at."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.start = source.read(_PEEK)
        self._given = 0

    def read(self, size: int = -1, /) -> bytes:
        """As of any stream; the start comes again."""
        kept = self.start[self._given :]
        if not kept:
            return self._source.read(size)
        if 0 <= size < len(kept):
            self._given += size
            return kept[:size]
        self._given = len(self.start)
        return kept + self._source.read(size - len(kept) if size >= 0 else -1)


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_DECODERS: tuple[tuple[bytes, Callable[[], _Decoder]], ...] = (
    (b"\x1f\x8b\x08", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (
        b"\x28\xb5\x2f\xfd",
        lambda: zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(),
    ),
    (b"\xfd7zXZ\0", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
)
DAMAGE = (
    zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError,
    tarfile.TarError, zipfile.BadZipFile, MemoryError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What reading a damaged archive raises, also while one of its contents is read."""


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
    except DAMAGE as error:
        raise Unreadable(f"it is damaged: {error}") from error


def _unpacked(peeked: Peeked) -> Iterator[tuple[str, Source]] | None:
    """The members, or None when the stream is no archive. A compressed stream has one: ""."""
    start = peeked.start
    for magic, make in _DECODERS:
        if start.startswith(magic):
            return iter((("", _Decoded(peeked, make)),))
    if start[257:262] == b"ustar":
        return _tar(peeked)
    if start.startswith(b"PK\x03\x04"):
        return _zip(peeked)
    return None


class _Decoded:
    """A decompressed stream, or several in a row, no longer than MOST."""

    def __init__(self, source: Source, make: Callable[[], _Decoder]) -> None:
        self._source, self._make, self._decoder = source, make, make()
        self._ready, self._total = b"", 0

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them without it."""
        parts, length = [self._ready], len(self._ready)
        while (size < 0 or length < size) and (packed := self._source.read(1 << 16)):
            for plain in self._unpack(packed):
                parts.append(plain)
                length += len(plain)
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        self._ready = data[cut:]
        return data[:cut]

    def _unpack(self, packed: bytes) -> Iterator[bytes]:
        while packed:
            if self._decoder.eof:
                self._decoder = self._make()
            plain = self._decoder.decompress(packed)
            self._total += len(plain)
            if self._total > MOST:
                raise Unreadable(f"it unpacks to more than {MOST >> 20} MiB")
            yield plain
            # What comes after the end is another stream, or zeros that fill a block.
            packed = self._decoder.unused_data.lstrip(b"\0") if self._decoder.eof else b""


def _tar(source: Source) -> Iterator[tuple[str, Source]]:
    with tarfile.open(fileobj=source, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
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
