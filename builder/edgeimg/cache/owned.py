"""Files in partial/ that a running edgeimg owns: the kernel unlocks them when it dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import BinaryIO

OWNER = ".owner"
"""File of a work directory that its owner holds locked."""
STALE = 7 * 86400.0
"""Seconds after which a download that nobody continued, or an unknown file, is given up."""


def is_still(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def sweep_lock(path: Path) -> None:
    """Remove a lock file that nobody holds. Raises OSError for one that is held."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_still(file, path):
            path.unlink()


def is_abandoned(path: Path) -> bool:
    """Whether the owner of a work directory is dead; anything else is judged by its age."""
    owner = path / OWNER
    if not owner.is_file():
        return time.time() - path.lstat().st_mtime > STALE
    with owner.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
