"""The files of a container image in an archive: a directory, or a tar that may be compressed."""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ArchiveError
from edgeimg.streams import decoding, limits, tar
from edgeimg.streams.decoding import Window
from edgeimg.text import bounded

_LINKS = 8
"""Links that one name may lead over."""


class Archive(Protocol):
    """The files of a container image, by their paths in the archive."""

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """A file of the archive and its size. Raises KeyError for a file that is missing."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""


class Directory:
    """An OCI image layout in a directory; no path leads out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, name: str) -> bool:
        """See `Archive`."""
        return (self._root / name).is_file()

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """See `Archive`."""
        path = self._root / name
        if not path.resolve().is_relative_to(self._root.resolve()) or not path.is_file():
            raise KeyError(name)
        file = bounded.opened(path)
        return file, os.fstat(file.fileno()).st_size


class Tar:
    """A plain tar; old engines save layers as links to one another."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file = file
        file.seek(0)
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            with tar.opened(file, label, limits=limits.UNTRUSTED) as (_, members):
                for info in members:
                    self._add(info, posixpath.normpath(info.name))
        except ArchiveError as error:
            raise ArchiveError(f"{label} is no container image: {error.message}") from error

    def _add(self, info: tarfile.TarInfo, name: str) -> None:
        if info.isreg():
            self._members[name] = info.offset_data, info.size
        elif info.issym():
            self._links[name] = posixpath.normpath(f"{posixpath.dirname(name)}/{info.linkname}")
        elif info.islnk():
            self._links[name] = posixpath.normpath(info.linkname)

    def has(self, name: str) -> bool:
        """See `Archive`."""
        return name in self._members

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """See `Archive`."""
        for _ in range(_LINKS):
            name = self._links.get(name, name).lstrip("/")
        offset, size = self._members[name]
        return cast("BinaryIO", Window(self._file, offset, size)), size


@contextlib.contextmanager
def opened(path: Path, label: str) -> Iterator[Archive]:
    """The files of the archive or directory at `path`, decompressed; `label` names it in errors.

    Raises ArchiveError.
    """
    if path.is_dir():
        yield Directory(path)
        return
    with bounded.opened(path) as packed:
        method = decoding.recognise(packed.read(6))
        packed.seek(0)
        if method is None:
            yield Tar(packed, label)
            return
        with disk_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as plain:
            size = path.stat().st_size
            for piece in decoding.pieces(packed, label, method=method, packed=size):
                plain.write(piece)
            yield Tar(cast("BinaryIO", plain), label)
