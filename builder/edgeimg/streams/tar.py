"""tar archives (ustar, GNU, POSIX.1-2001) member by member, within limits.

Names, link targets and extended attributes that are not UTF-8 keep their bytes (surrogateescape).
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeimg.errors import ArchiveError
from edgeimg.streams.decoding import Source
from edgeimg.streams.limits import UNTRUSTED, Budget, Limits

DAMAGE = (tarfile.TarError, UnicodeError, ValueError, OverflowError, RecursionError)
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_IN_A_ROW = 8
"""Extended headers before one member; tarfile reads each one level deeper."""
_LARGEST_ID = (1 << 32) - 1


@contextlib.contextmanager
def opened(
    source: Source | BinaryIO, label: str, *, limits: Limits = UNTRUSTED, seekable: bool = True
) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """A plain tar and its members, in order; `seekable` sources are read where they must be.

    Raises ArchiveError, here and while members are read, for whatever is damaged or beyond the
    limits.
    """
    budget = Budget(label=label, limits=limits)
    bounded = type("Member", (_Member,), {"budget": budget, "row": 0})
    try:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=source,
            mode="r:" if seekable else "r|",
            tarinfo=bounded,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            yield archive, _members(archive, budget)
    except DAMAGE as error:
        raise ArchiveError(f"{label}: not a whole tar archive: {error}") from error


def members(
    path: Path, label: str, *, limits: Limits = UNTRUSTED, may_lack_end: bool = False
) -> Iterator[tarfile.TarInfo]:
    """The members of the plain tar at `path`, which must end as tar(5) asks. See `opened`.

    With `may_lack_end` it may end after a member, without blocks of zeros: for archives whose
    digest is known to be right.
    """
    if may_lack_end and not path.stat().st_size:
        return
    with path.open("rb") as file, opened(file, label, limits=limits) as (archive, found):
        size = path.stat().st_size
        for info in found:
            if info.isreg() and not 0 <= info.size <= size - info.offset_data:
                raise ArchiveError(f"{label}: truncated within {info.name!r}")
            yield info
        # tarfile takes a damaged header for the end; the real end is a block of zeros.
        file.seek(archive.offset)
        end = file.read(tarfile.BLOCKSIZE)
        if end != bytes(tarfile.BLOCKSIZE) and not (may_lack_end and not end):
            raise ArchiveError(f"{label}: truncated or damaged at byte {archive.offset}")


def _members(archive: tarfile.TarFile, budget: Budget) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
        budget.node()
        budget.path(info.name)
        if len(info.linkname) > budget.limits.path:
            raise ArchiveError(f"{budget.label}: a link is longer than {budget.limits.path} bytes")
        if not 0 <= info.uid <= _LARGEST_ID or not 0 <= info.gid <= _LARGEST_ID or info.size < 0:
            raise ArchiveError(f"{budget.label}: {info.name!r} has an owner or size out of range")
        yield info


class _Member(tarfile.TarInfo):
    """A member whose extended headers are counted before they are read."""

    budget: Budget
    row: int

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        kind = type(self)
        if self.type in _EXTENDED:
            kind.row += 1
            if kind.row > _IN_A_ROW:
                raise ArchiveError(f"{self.budget.label}: too many extended headers in a row")
            self.budget.header(self.size)
        else:
            kind.row = 0
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse()
        return super()._proc_member(tarfile_)  # type: ignore[misc, no-any-return]

    def _refuse(self, *_: object) -> None:
        raise ArchiveError(f"{self.budget.label}: /{self.name} is of an unknown type: sparse")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse
