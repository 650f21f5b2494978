"""Archives as strangers made them: ar, compressed streams and tar, read with bounds.

Formats: ar(5) in the variant of deb(5); tar in the ustar, GNU and POSIX.1-2001 (pax) forms.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from edgeimg.errors import ArchiveError
from edgeimg.tree import Kind, Node, Span, normalise

CHUNK = 1 << 20
MAX_MEMBERS = 200_000
MAX_BYTES = 4 << 30
FREE_BYTES = 256 << 20
MAX_RATIO = 100
"""A stream may grow to FREE_BYTES, and beyond that to MAX_RATIO times its compressed size."""
_MEMORY = 512 << 20
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


@dataclass(frozen=True)
class ArMember:
    """One member of an ar archive: `size` bytes at `offset`."""

    name: str
    offset: int
    size: int


def ar_members(source: BinaryIO, label: str) -> list[ArMember]:
    """The members of an ar archive, in order. Raises ArchiveError when it isn't a whole one."""
    end = source.seek(0, 2)
    source.seek(0)
    if source.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ArchiveError(f"{label}: not an ar archive")
    members: list[ArMember] = []
    while (offset := source.tell()) < end:
        header = source.read(_AR_HEADER)
        size = header[48:58].strip()
        if len(header) < _AR_HEADER or header[58:] != b"`\n" or not size.isdigit():
            raise ArchiveError(f"{label}: damaged or truncated at byte {offset}")
        name = header[:16].decode("ascii", "replace").strip().removesuffix("/")
        member = ArMember(name, offset + _AR_HEADER, int(size))
        if member.offset + member.size > end:
            raise ArchiveError(f"{label}: truncated within its member {name}")
        members.append(member)
        source.seek(member.offset + member.size + member.size % 2)
    return members


def decompress(source: BinaryIO, member: ArMember, output: BinaryIO, label: str) -> None:
    """Write the decompressed `member` to `output`; its name's suffix tells the compression.

    Raises ArchiveError for damaged or truncated data, trailing garbage, and bombs.
    """
    limit = min(MAX_BYTES, FREE_BYTES + MAX_RATIO * member.size)
    where = f"{label}: {member.name}"
    suffix = member.name.partition(".tar")[2]
    if suffix not in _STREAMS:
        raise ArchiveError(f"{where} is compressed with an unknown method")
    written = 0
    try:
        for chunk in _STREAMS[suffix](_chunks(source, member)):
            written += len(chunk)
            if written > limit:
                raise ArchiveError(f"{where} unpacks to more than {limit} bytes: refused as a bomb")
            output.write(chunk)
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, MemoryError) as error:
        raise ArchiveError(f"{where} is damaged: {error}") from error


def _chunks(source: BinaryIO, member: ArMember) -> Iterator[bytes]:
    for start in range(0, member.size, CHUNK):
        source.seek(member.offset + start)
        yield source.read(min(CHUNK, member.size - start))


def _xz(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    for chunk in chunks:
        yield decoder.decompress(chunk, CHUNK)
        while not decoder.needs_input and not decoder.eof:
            yield decoder.decompress(b"", CHUNK)
        if decoder.unused_data:
            raise EOFError("garbage after its end")
    if not decoder.eof:
        raise EOFError("truncated")


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        yield decoder.decompress(chunk, CHUNK)
        while decoder.unconsumed_tail:
            yield decoder.decompress(decoder.unconsumed_tail, CHUNK)
        if decoder.unused_data:
            raise EOFError("garbage after its end")
    if not decoder.eof:
        raise EOFError("truncated")


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    # Small bites: the decoder's output is unbounded for one input, 128 KiB per 4 bytes at worst.
    decoder = zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj()
    for chunk in chunks:
        for start in range(0, len(chunk), 1024):
            if decoder.eof:
                raise EOFError("garbage after its end")
            yield decoder.decompress(chunk[start : start + 1024])
    if not decoder.eof:
        raise EOFError("truncated")


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return chunks


_STREAMS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "": _plain,
    ".gz": _gzip,
    ".xz": _xz,
    ".zst": _zstd,
}


def tar_nodes(archive: Path, label: str, *, origin: str = "") -> dict[str, Node]:
    """The nodes of an uncompressed tar; file contents are spans of it.

    Hard links become files that share a span. Raises ArchiveError for whatever an honest file
    tree does not hold: names that climb out, entries below a file or a link, devices and fifos,
    a path given twice with different meaning, too many members, truncation.
    """
    nodes: dict[str, Node] = {}
    try:
        with tarfile.open(archive, "r:", errors="strict", encoding="utf-8") as tar:
            for count, info in enumerate(tar):
                if count >= MAX_MEMBERS:
                    raise ArchiveError(f"{label}: more than {MAX_MEMBERS} members")
                _add(nodes, info, archive, label, origin)
            _require_end(archive, tar.offset, label)
    except (tarfile.TarError, UnicodeError, ValueError, OverflowError) as error:
        raise ArchiveError(f"{label}: not a whole tar archive: {error}") from error
    for path in nodes:
        _check_parents(nodes, path, label)
    return nodes


def _require_end(archive: Path, offset: int, label: str) -> None:
    # tarfile takes a damaged header for the end of the archive; the real end is a block of zeros.
    with archive.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ArchiveError(f"{label}: truncated or damaged at byte {offset}")


def _add(
    nodes: dict[str, Node], info: tarfile.TarInfo, archive: Path, label: str, origin: str
) -> None:
    path = _path(info.name, label)
    if not path:
        if not info.isdir():
            raise ArchiveError(f"{label}: its root is not a directory")
        return
    node = _node(nodes, path, info, archive, label, origin)
    earlier = nodes.get(path)
    if earlier is not None and not _same(earlier, node):
        raise ArchiveError(f"{label}: /{path} is there twice, with different content")
    nodes[path] = node


def _path(name: str, label: str) -> str:
    if name.startswith("/"):
        raise ArchiveError(f"{label}: the path {name!r} is absolute")
    try:
        return normalise(name)
    except ArchiveError as error:
        raise ArchiveError(f"{label}: {error.message}") from None


def _node(
    nodes: dict[str, Node], path: str, info: tarfile.TarInfo, archive: Path, label: str, origin: str
) -> Node:
    xattrs = tuple(
        (name.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
        for name, value in sorted(info.pax_headers.items())
        if name.startswith("SCHILY.xattr.")
    )
    mode, uid, gid = info.mode & 0o7777, info.uid, info.gid
    if info.isdir():
        return Node(kind=Kind.DIRECTORY, mode=mode, uid=uid, gid=gid, xattrs=xattrs, origin=origin)
    if info.issym():
        if not info.linkname or "\0" in info.linkname:
            raise ArchiveError(f"{label}: the link /{path} leads nowhere")
        return Node(
            kind=Kind.SYMLINK, mode=0o777, uid=uid, gid=gid, target=info.linkname, origin=origin
        )
    if info.islnk():
        original = nodes.get(_path(info.linkname, label))
        if original is None or original.kind is not Kind.FILE:
            raise ArchiveError(f"{label}: /{path} is a hard link to {info.linkname!r}, no file")
        return original
    if not info.isreg() or info.sparse is not None:
        raise ArchiveError(f"{label}: /{path} is a device, a fifo or of an unknown type")
    return Node(
        kind=Kind.FILE,
        mode=mode,
        uid=uid,
        gid=gid,
        content=Span(archive, info.offset_data, info.size),
        xattrs=xattrs,
        origin=origin,
    )


def _same(one: Node, other: Node) -> bool:
    if one.kind is not other.kind or one.mode != other.mode or one.target != other.target:
        return False
    return one.kind is not Kind.FILE or (one.size == other.size and one.read() == other.read())


def _check_parents(nodes: dict[str, Node], path: str, label: str) -> None:
    parent = path.rpartition("/")[0]
    if parent and parent in nodes and nodes[parent].kind is not Kind.DIRECTORY:
        raise ArchiveError(f"{label}: /{path} lies below /{parent}, which is no directory")
    if parent and parent not in nodes:
        _check_parents(nodes, parent, label)
