"""Compressed bytes → their content, in pieces, within limits.

Formats: gzip (RFC 1952), zstd (RFC 8878), xz, bzip2, and the older lzma. Several members or frames
in a row are one stream, as their own programs read them; skippable zstd frames and zeros after the
end are ignored. Anything else after the end is an error.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import zstandard

from edgeimg.errors import ArchiveError, EdgeimgError
from edgeimg.streams.limits import UNTRUSTED, Budget, Limits

CHUNK = 1 << 20
DAMAGE = (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, MemoryError)
_READ = 1 << 15
_BITE = 1 << 11
"""zstd's output is unbounded for one input: 128 KiB for 4 bytes, 64 MiB for this many."""
_NIBBLE = 1 << 4
"""Where zeros are: 2 MiB of them."""
_PEEK = 512
_LONGEST = 6
"""Bytes of the longest magic number."""


class Source(Protocol):
    """What can be read once."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them without it."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


@dataclass(frozen=True)
class Method:
    """One compression: how its streams begin, and how a member is decoded."""

    name: str
    magics: tuple[bytes, ...]
    make: Callable[[Limits], _Decoder]
    pieces: Callable[[_Decoder, bytes], Iterator[bytes]]


def _inflate(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    while data:
        yield decoder.decompress(data, CHUNK)  # type: ignore[attr-defined]
        data = decoder.unconsumed_tail  # type: ignore[attr-defined]


def _bounded(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    yield decoder.decompress(data, CHUNK)  # type: ignore[attr-defined]
    while not decoder.needs_input and not decoder.eof:  # type: ignore[attr-defined]
        yield decoder.decompress(b"", CHUNK)  # type: ignore[attr-defined]


class _Zstd:
    """One frame; what a bite leaves is kept together with the bites that were not needed."""

    def __init__(self, limits: Limits) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=limits.window).decompressobj()
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._rest

    def pieces(self, data: bytes) -> Iterator[bytes]:
        start, size = 0, _BITE
        while start < len(data):
            piece = self._frame.decompress(data[start : start + size])
            yield piece
            start += size
            if self._frame.eof:
                self._rest = data[start:]
                return
            # New memory for large pieces takes longer than to decode zeros.
            size = _NIBBLE if len(piece) >= 1 << 19 else _BITE


def _zstd(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    assert isinstance(decoder, _Zstd)
    return decoder.pieces(data)


def _lzma(form: int) -> Callable[[Limits], _Decoder]:
    # Beside its window, the decoder needs less than 16 MiB.
    return lambda limits: lzma.LZMADecompressor(form, memlimit=limits.window + (16 << 20))


def _bzip2(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    try:
        yield from _bounded(decoder, data)
    except OSError as error:  # what the module raises for damaged data
        raise EOFError(str(error)) from error


_SKIPPABLE = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))
GZIP = Method("gzip", (b"\x1f\x8b\x08",), lambda _: zlib.decompressobj(wbits=31), _inflate)
ZSTD = Method("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), _Zstd, _zstd)
XZ = Method("xz", (b"\xfd7zXZ\0",), _lzma(lzma.FORMAT_XZ), _bounded)
BZIP2 = Method("bzip2", (b"BZh",), lambda _: bz2.BZ2Decompressor(), _bzip2)
LZMA = Method("lzma", (b"\x5d\0\0",), _lzma(lzma.FORMAT_ALONE), _bounded)
"""Never recognised by its start, which other data may have, too."""
_RECOGNISED = (GZIP, ZSTD, XZ, BZIP2)
SUFFIXES = {"": None, ".gz": GZIP, ".xz": XZ, ".zst": ZSTD, ".bz2": BZIP2, ".lzma": LZMA}
"""What the name of a file says; None is not compressed."""


def recognise(start: bytes) -> Method | None:
    """The compression of a stream by its first six bytes; None for anything else."""
    return next((method for method in _RECOGNISED if start.startswith(method.magics)), None)


def pieces(
    source: Source,
    label: str,
    *,
    method: Method | None,
    packed: int | None = None,
    limits: Limits = UNTRUSTED,
) -> Iterator[bytes]:
    """The content of a stream; `packed` is its compressed size where it is known.

    Raises ArchiveError for damaged or truncated data, garbage after it, and bombs.
    """
    budget, limit, written = Budget(label=label, limits=limits), limits.output(packed), 0
    packed_chunks = chunks(source, _READ)
    try:
        for piece in packed_chunks if method is None else _members(method, packed_chunks, budget):
            written += len(piece)
            budget.move(len(piece))
            if written > limit:
                more = f"{limit >> 20} MiB" if limit >> 20 else f"{limit} bytes"
                raise ArchiveError(f"{label} unpacks to more than {more}: refused as a bomb")
            if piece:
                yield piece
    except DAMAGE as error:
        raise ArchiveError(f"{label} is damaged: {error}") from error


def _members(method: Method, chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    decoder: _Decoder | None = None
    count, rest = 0, b""
    for chunk in chunks:
        budget.move(len(chunk))
        data, rest = rest + chunk, b""
        while data:
            if decoder is None:
                data = data.lstrip(b"\0") if count else data
                if len(data) < _LONGEST:
                    rest = data
                    break
                if not data.startswith(method.magics):
                    raise EOFError("garbage after its end" if count else f"not {method.name} data")
                decoder, count = method.make(budget.limits), count + 1
                if count > budget.limits.streams:
                    raise EOFError(f"more than {budget.limits.streams} streams in a row")
                budget.move(0)
            yield from method.pieces(decoder, data)
            data = decoder.unused_data if decoder.eof else b""
            decoder = None if decoder.eof else decoder
    if decoder is not None or not count:
        raise EOFError("truncated")
    if rest:
        raise EOFError("garbage after its end")


def unpacked(
    data: bytes, label: str, *, method: Method | None, limits: Limits = UNTRUSTED
) -> bytes:
    """The content of a stream in memory. Raises ArchiveError; see `pieces`."""
    source = io.BytesIO(data)
    return b"".join(pieces(source, label, method=method, packed=len(data), limits=limits))


class Stream:
    """A decompressed stream to read from.

    Its faults are raised as `failure`; OSError of the source passes.
    """

    def __init__(
        self,
        source: Source,
        label: str,
        *,
        method: Method | None,
        packed: int | None = None,
        limits: Limits = UNTRUSTED,
        failure: Callable[[str], EdgeimgError] = ArchiveError,
    ) -> None:
        self._pieces = pieces(source, label, method=method, packed=packed, limits=limits)
        self._failure = failure
        self._ready = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them without it."""
        parts, length = [], 0
        while size < 0 or length < size:
            # A piece may be large. What is left of it is not copied with each part.
            piece = self._ready or memoryview(self._next())
            part = piece if size < 0 else piece[: size - length]
            if not part:
                break
            parts.append(part)
            length += len(part)
            self._ready = piece[len(part) :]
        return b"".join(parts)

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except ArchiveError as error:
            raise self._failure(error.message) from error


def chunks(source: Source, size: int = CHUNK) -> Iterator[bytes]:
    """What is left of a stream, `size` bytes at a time at most."""
    while data := source.read(size):
        yield data


class Peeked:
    """A stream whose start was looked at."""

    def __init__(self, source: Source, size: int = _PEEK) -> None:
        self._source = source
        self.start = source.read(size)
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


class Window:
    """`size` bytes at `offset` of a file that can be seeked; several may share the file."""

    def __init__(self, source: BinaryIO, offset: int, size: int) -> None:
        self._source, self._start, self._end = source, offset, offset + size
        self._at = offset

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them without it."""
        left = self._end - self._at
        self._source.seek(self._at)
        data = self._source.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data

    def tell(self) -> int:
        """The position, counted from the window's start."""
        return self._at - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move there, and return the position."""
        bases = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}
        self._at = min(max(bases[whence] + offset, self._start), self._end)
        return self.tell()

    def close(self) -> None:
        """Nothing: the file is another's."""

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
