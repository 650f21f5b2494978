"""The content-addressed cache, shared by all builds of a user.

    <cache>/blobs/<sha256>           inputs, verified before they get that name
    <cache>/derived/<key>            results of stages, named by the hash of their inputs
    <cache>/partial/                 downloads and results under way

Files and directories appear under their final name by rename only, so a killed build leaves
nothing half-written there. Two builds may share one cache: makers of the same key take turns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from builder.errors import HostError

CHUNK = 1 << 20


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Digest of edgeimg's own code: part of every derived key, so a new builder rebuilds."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(here)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def key(*inputs: str) -> str:
    """The cache key of a stage from its name, version and the digests of its inputs."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_root() -> Path:
    """`$EDGEIMG_CACHE`, else `$XDG_CACHE_HOME/edgeimg`, else `~/.cache/edgeimg`."""
    if own := os.environ.get("EDGEIMG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeimg"


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostError(
                f"no space left on the disk of {path}",
                hint="free some space (`edgeimg clean` empties the cache) and run it again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise HostError(
                f"cannot write to {path}: {error.strerror}",
                hint="choose another place with EDGEIMG_CACHE or --output",
            ) from error
        raise


@dataclass(frozen=True)
class Store:
    """The cache below `root`; directories are made on first use."""

    root: Path

    def blob(self, sha256: str) -> Path:
        """Where the input with this digest is, or would be."""
        return self.root / "blobs" / sha256

    def has_blob(self, sha256: str) -> bool:
        """Whether the input is here. Its content was checked when it got its name."""
        return self.blob(sha256).is_file()

    def partial(self, name: str) -> Path:
        """A path for work under way, on the same file system as the final names."""
        directory = self.root / "partial"
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        return directory / name

    def derived(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the result named `key`; when it is missing, `make(path)` makes it there.

        `make` writes a file or a directory at the path it is given. When it raises, nothing
        is left. Concurrent callers wait for the one who makes it.
        """
        final = self.root / "derived" / key
        if final.exists():
            return final
        with self.lock(key), disk_errors(self.root):
            if final.exists():
                return final
            final.parent.mkdir(parents=True, exist_ok=True)
            work = Path(
                tempfile.mkdtemp(prefix=f"{key[:16]}.", dir=self.partial("").parent / "partial")
            )
            try:
                result = work / "result"
                make(result)
                result.rename(final)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return final

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the cache's lock of that name; a killed holder lets go of it."""
        path = self.partial(f"{name}.lock")
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
