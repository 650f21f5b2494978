"""Archives as strangers made them: ar, compressed streams and tar, read with bounds.

Formats: ar(5) in the variant of deb(5); tar in the ustar, GNU and POSIX.1-2001 (pax) forms.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ArchiveError
from edgeimg.streams import decoding, limits, tar
from edgeimg.streams.decoding import Window
from edgeimg.streams.limits import Budget
from edgeimg.tree import Kind, Node, Span, normalise

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


@dataclass(frozen=True)
class ArMember:
    """One member of an ar archive: `size` bytes at `offset`."""

    name: str
    offset: int
    size: int


def ar_members(source: BinaryIO, label: str) -> list[ArMember]:
    """The members of an ar archive, in order. Raises ArchiveError for an incomplete archive."""
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
    """Write the decompressed `member` to `output`. The suffix of its name sets the compression.

    Raises ArchiveError for damaged or truncated data, trailing garbage, and bombs.
    """
    where, suffix = f"{label}: {member.name}", member.name.partition(".tar")[2]
    if suffix not in decoding.SUFFIXES:
        raise ArchiveError(f"{where} is compressed with an unknown method")
    window = Window(source, member.offset, member.size)
    for piece in decoding.pieces(
        window,
        where,
        method=decoding.SUFFIXES[suffix],
        packed=member.size,
        limits=limits.UNTRUSTED,
    ):
        output.write(piece)


def tar_nodes(archive: Path, label: str, *, origin: str = "") -> dict[str, Node]:
    """The nodes of an uncompressed tar; file contents are spans of it.

    Hard links become files that share a span. Raises ArchiveError for whatever an honest file
    tree does not hold: names that climb out, entries below a file or a link, devices and fifos,
    a path given twice with different meaning, too many members, truncation.
    """
    budget = Budget(label=label, limits=limits.UNTRUSTED)
    nodes: dict[str, Node] = {}
    is_same = _NodeComparison()
    for info in tar.members(archive, label, limits=limits.UNTRUSTED):
        path = _relative(info.name, label)
        if not path:
            require_directory(info, label)
            continue
        if info.islnk():
            node = _linked(nodes, path, info, label)
        else:
            node = node_of(info, path, archive, label, origin)
        earlier = nodes.get(path)
        if earlier is not None and not is_same(earlier, node):
            raise ArchiveError(f"{label}: duplicate /{path} with different content")
        nodes[path] = node
    _check_parents(nodes, budget)
    require_few_copies(nodes, label)
    return nodes


def require_few_copies(nodes: Mapping[str, Node], label: str) -> None:
    """Raise ArchiveError when hard links to large files would make many gigabytes of files."""
    spans = [node.content for node in nodes.values() if isinstance(node.content, Span)]
    copies = sum(span.size for span in spans) - sum(span.size for span in set(spans))
    if copies > limits.UNTRUSTED.bytes:
        raise ArchiveError(f"{label}: its hard links make {copies >> 20} MiB of more files")


def tree_path(name: str, label: str) -> str:
    """The path of a member in its tree.

    Raises ArchiveError for names that climb out, and for those that are not UTF-8.
    """
    if not name.isprintable() and _is_binary(name):
        raise ArchiveError(f"{label}: the name {name!r} is not UTF-8 text")
    try:
        return normalise(name)
    except ArchiveError as error:
        raise ArchiveError(f"{label}: {error.message}") from None


def require_directory(info: tarfile.TarInfo, label: str) -> None:
    """Raise ArchiveError when the member for the root itself is no directory."""
    if not info.isdir():
        raise ArchiveError(f"{label}: its root is not a directory")


def node_of(info: tarfile.TarInfo, path: str, archive: Path, label: str, origin: str) -> Node:
    """The node of a member that is no hard link. Raises ArchiveError for devices and the like."""
    xattrs = tuple(
        (name.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
        for name, value in sorted(info.pax_headers.items())
        if name.startswith("SCHILY.xattr.")
    )
    if sum(len(name) + len(value) for name, value in xattrs) > limits.UNTRUSTED.attributes:
        raise ArchiveError(f"{label}: the extended attributes of /{path} are too large")
    mode, uid, gid = info.mode & 0o7777, info.uid, info.gid
    if info.isdir():
        return Node(kind=Kind.DIRECTORY, mode=mode, uid=uid, gid=gid, xattrs=xattrs, origin=origin)
    if info.issym():
        if not info.linkname or "\0" in info.linkname or _is_binary(info.linkname):
            raise ArchiveError(f"{label}: the link /{path} leads nowhere")
        return Node(
            kind=Kind.SYMLINK, mode=0o777, uid=uid, gid=gid, target=info.linkname, origin=origin
        )
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


def _is_binary(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _relative(name: str, label: str) -> str:
    if name.startswith("/"):
        raise ArchiveError(f"{label}: the path {name!r} is absolute")
    return tree_path(name, label)


def _linked(nodes: dict[str, Node], path: str, info: tarfile.TarInfo, label: str) -> Node:
    original = nodes.get(_relative(info.linkname, label))
    if original is None or original.kind is Kind.DIRECTORY:
        raise ArchiveError(f"{label}: /{path} is a hard link to {info.linkname!r}, no file")
    return original


@dataclass
class _NodeComparison:
    """Whether two nodes are equal. Each content is read at most once."""

    digests: dict[Span, bytes] = field(default_factory=dict)

    def __call__(self, first: Node, second: Node) -> bool:
        if (
            first.kind is not second.kind
            or first.mode != second.mode
            or first.target != second.target
        ):
            return False
        if first.content == second.content:
            return True
        return first.size == second.size and self._digest(first) == self._digest(second)

    def _digest(self, node: Node) -> bytes:
        span = node.content
        if not isinstance(span, Span):
            return hashlib.sha256(span).digest()
        if span not in self.digests:
            with span.path.open("rb") as file:
                window, total = Window(file, span.offset, span.size), hashlib.sha256()
                while chunk := window.read(decoding.CHUNK):
                    total.update(chunk)
            self.digests[span] = total.digest()
        return self.digests[span]


def _check_parents(nodes: dict[str, Node], budget: Budget) -> None:
    directories: set[str] = set()
    budget.node(len(nodes))
    for path in nodes:
        parent = path.rpartition("/")[0]
        while parent and parent not in directories:
            node = nodes.get(parent)
            if node is None:
                budget.node()
            elif node.kind is not Kind.DIRECTORY:
                raise ArchiveError(
                    f"{budget.label}: /{path} is below /{parent}, which is not a directory"
                )
            directories.add(parent)
            parent = parent.rpartition("/")[0]
