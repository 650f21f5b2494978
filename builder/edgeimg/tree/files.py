"""Trees and the files they are read from and written to: spans, tar members, host directories."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeimg.streams.decoding import Window
from edgeimg.streams.limits import Budget
from edgeimg.tree.node import Content, Kind, Node, Span


def walk(root: Path) -> Iterator[Path]:
    """Everything below a directory, sorted, parents first; links are not followed.

    Raises ArchiveError beyond the limits of paths and their number.
    """
    budget = Budget(label=str(root))
    pending = sorted(root.iterdir(), reverse=True)
    while pending:
        path = pending.pop()
        budget.node()
        budget.path(path.relative_to(root).as_posix())
        yield path
        if path.is_dir() and not path.is_symlink():
            pending += sorted(path.iterdir(), reverse=True)


def root_info(mtime: int) -> tarfile.TarInfo:
    """The member for the root directory itself."""
    info = tarfile.TarInfo("./")
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, mtime
    return info


def tar_info(path: str, node: Node, mtime: int) -> tarfile.TarInfo:
    """The member for one node of a canonical tar."""
    info = tarfile.TarInfo(path)
    info.mode, info.uid, info.gid, info.mtime = node.mode, node.uid, node.gid, mtime
    info.uname = info.gname = ""
    if node.kind is Kind.DIRECTORY:
        info.type = tarfile.DIRTYPE
    elif node.kind is Kind.SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, node.target
    else:
        info.size = node.size
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in node.xattrs
    }
    return info


class Reader:
    """Opens contents, keeping the last few files open: spans of one archive come in a row."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for open_file in self._files.values():
            open_file.close()

    def open(self, content: Content) -> BinaryIO:
        """A stream of exactly the content's bytes."""
        if isinstance(content, bytes):
            return io.BytesIO(content)
        if content.path not in self._files:
            if len(self._files) >= 64:
                self._files.pop(next(iter(self._files))).close()
            self._files[content.path] = content.opened()
        source = self._files[content.path]
        if content.stamp:
            return _Watched(source, content)  # type: ignore[return-value]
        return Window(source, content.offset, content.size)  # type: ignore[return-value]


class _Watched(Window):
    """A file of the project, which must stay as it is until it is read."""

    def __init__(self, source: BinaryIO, span: Span) -> None:
        super().__init__(source, span.offset, span.size)
        self._file, self._span = source, span

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        self._span.require_unchanged(self._file)
        return data
