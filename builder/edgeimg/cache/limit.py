"""What keeps the cache from growing for ever: results nobody used for long make room for new ones.

Every change of a recipe or of edgeimg leaves results that no later build asks for.
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
"""Bytes of results; downloads are not counted and never removed here."""
_IN_USE = 6 * 3600.0
"""Seconds since its last use for which a result is left alone: a guest may be running from it."""


def limit() -> int:
    """Bytes of results to keep: `$EDGEIMG_CACHE_LIMIT`, such as `20 GiB`, else DEFAULT.

    Raises HostError when the variable is no size.
    """
    said = os.environ.get(VARIABLE)
    if not said:
        return DEFAULT
    try:
        return parse_size(said)
    except ValueError as error:
        raise HostError(f"{VARIABLE}={said!r}: {error}") from None


def trim(directory: Path, most: int) -> int:
    """Remove the entries of `directory` that were not used for longest until `most` bytes are left.

    An entry's time of modification is that of its last use. Returns the bytes freed.
    """
    entries = []
    for path in directory.iterdir() if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another edgeimg was faster
            entries.append((path.lstat().st_mtime, usage(path), path))
    excess = sum(size for _, size, _ in entries) - most
    freed = 0
    for used, size, path in sorted(entries):
        if freed >= excess or time.time() - used < _IN_USE:
            break
        if _remove(path, used):
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


def _remove(path: Path, used: float) -> bool:
    """By rename first, so that nobody finds half of it; not if it was used again since `used`."""
    doomed = path.with_name(f".{path.name}.doomed")
    try:
        if path.lstat().st_mtime != used:
            return False
        path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()
    except OSError:  # another edgeimg was faster; what is left is taken the next time
        return False
    return True
