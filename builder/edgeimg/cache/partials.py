"""Unfinished files and directories beside finished ones, and secrets that are on no disk.

Each is locked by the run that writes it, and the kernel unlocks it when that run dies. So the next
run in the same place removes the files of a killed one, and no file that another run writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FILE = re.compile(r"\..+\.(\d+)\.partial", re.DOTALL)


@contextlib.contextmanager
def file(final: Path) -> Iterator[Path]:
    """A new, hidden file beside `final`, which only its owner may read, to be renamed to it.

    It is removed at the end of the block otherwise. Raises OSError.
    """
    sweep(final.parent)
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # of a dead process of this number
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield partial
    finally:
        partial.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def directory(prefix: str, parent: Path) -> Iterator[Path]:
    """A new directory below `parent`, which only its owner may look into; removed afterwards.

    Raises OSError.
    """
    for abandoned in parent.glob(f"{prefix}*"):
        _remove_abandoned(abandoned)
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # swept before it was locked
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def sweep(place: Path) -> None:
    """Remove the files of killed runs in a directory."""
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            match = _FILE.fullmatch(path.name)
            # Compare the inode too: zstd(1) replaces the file by another one without the lock.
            if match and not Path("/proc", match[1]).exists():
                _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, or being written
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_uid == os.geteuid():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)
