"""Limits the size of the cache: results that were unused for the longest time are removed.

Every change of a recipe or of edgeimg leaves results that no later build uses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from edgeimg.errors import HostError
from edgeimg.recipe.types import parse_size

VARIABLE = "EDGEIMG_CACHE_LIMIT"
DEFAULT = 12 << 30
"""Bytes of results. Downloads do not count and are never removed here."""
_IN_USE = 6 * 3600.0
"""Seconds since its last use before a result may be removed: a guest may run from it."""


def limit() -> int:
    """Bytes of results to keep: `$EDGEIMG_CACHE_LIMIT`, such as `20 GiB`, else DEFAULT.

    Raises HostError when the variable is no size.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return DEFAULT
    try:
        return parse_size(value)
    except ValueError as error:
        raise HostError(f"{VARIABLE}={value!r}: {error}") from None


def trim(directory: Path, most: int) -> int:
    """Remove the entries of `directory` with the oldest use until at most `most` bytes remain.

    An entry's time of modification is that of its last use. Returns the bytes freed.
    """
    entries = []
    for path in directory.iterdir() if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another edgeimg was faster
            entries.append((path.lstat().st_mtime, usage(path), path))
    excess = sum(size for _, size, _ in entries) - most
    freed = 0
    for last_use, size, path in sorted(entries):
        if freed >= excess or time.time() - last_use < _IN_USE:
            break
        if _remove(path, last_use):
            freed += size
    return freed


def usage(path: Path) -> int:
    """Bytes that a file, or everything below a directory, takes on the disk."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_blocks * 512
    total = 0
    with os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    total += usage(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _remove(path: Path, last_use: float) -> bool:
    """Remove by rename first, so that no half result is visible. Skips it if it was used since."""
    doomed = path.with_name(f".{path.name}.doomed")
    try:
        if path.lstat().st_mtime != last_use:
            return False
        path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()
    except OSError:  # another edgeimg was faster; the next run removes the remains
        return False
    return True
