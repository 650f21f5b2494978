"""The digest of a result in the cache: written when the result is made, compared before each use.

    <cache>/derived/<key>     the result
    <cache>/digests/<key>     its digest, as 64 hexadecimal digits

The digest is stored beside the target of a result that is a symbolic link into another cache. A
result without a digest is unusable: its writer was killed, or an older edgeimg wrote it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

DIGESTS = "digests"
_states: dict[Path, str] = {}
"""Results that this process has hashed, and their `_state` then."""


def digest(result: Path) -> str:
    """Hex sha256 of a result.

    Of a file: of its bytes. Of a directory: of the path, type, permissions and content or link
    target of everything below it, in order. Owners and time stamps do not count.
    """
    if not result.is_dir():
        return _sha256(result)
    total = hashlib.sha256()
    for name, path, facts in _below(result):
        content = ""
        if stat.S_ISREG(facts.st_mode):
            content = _sha256(path)
        elif stat.S_ISLNK(facts.st_mode):
            content = str(path.readlink())
        total.update(repr((name, facts.st_mode, content)).encode())
    return total.hexdigest()


def place(result: Path) -> Path:
    """Where the digest of a result is, or would be."""
    real = result.resolve()
    return real.parent.with_name(DIGESTS) / real.name


def write(result: Path, seal: str) -> None:
    """Keep the digest `seal` of a result that was just made. Raises OSError."""
    path = place(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(seal)
    _states[result] = _state(result)


def holds(result: Path) -> bool:
    """Whether a result still has its digest.

    A process hashes a result once, and once more when something was written to it since.
    """
    try:
        state = _state(result)
        if _states.get(result) == state:
            return True
        if place(result).read_text() != digest(result):
            return False
    except (OSError, UnicodeDecodeError):
        return False
    _states[result] = state
    return True


def _state(result: Path) -> str:
    """Changes with every write by way of the file system, which bit rot is not."""
    total = hashlib.sha256(repr(_times(result.stat())).encode() if result.is_file() else b"")
    for name, _, facts in _below(result) if result.is_dir() else ():
        total.update(repr((name, facts.st_mode, *_times(facts))).encode())
    return total.hexdigest()


def _times(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _below(directory: Path, prefix: str = "") -> Iterator[tuple[str, Path, os.stat_result]]:
    """Everything below a directory by relative name, in order; links are not followed."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            facts = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, Path(entry.path), facts
            if stat.S_ISDIR(facts.st_mode):
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
