"""The content-addressed cache, shared by all builds of a user.

    <cache>/blobs/<sha256>           inputs, verified before they get that name
    <cache>/derived/<key>            results of stages, named by the hash of their inputs
                                     (limit.py removes unused ones)
    <cache>/digests/<key>            digest of each result when it was made (seal.py)
    <cache>/partial/                 downloads and results under way, and the locks of both

Files and directories appear under their final name by rename only, so a killed build leaves
nothing half-written there. Inputs and results are hashed before use: what was damaged since is
removed, and fetched or made again. Two builds may share one cache: makers of the same key take
turns.
The next build removes the files of killed builds in partial/ (`sweep`): each work directory
has a file that its owner holds locked, and the kernel unlocks it when the owner dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from edgeimg.cache import owned, seal
from edgeimg.errors import DamageError, HostError, LockError, ToolError
from edgeimg.progress import Progress, Silent

CHUNK = 1 << 20
_RECENT = 600.0
"""Seconds for which the time of a result's last use is exact enough."""
_NOTHING = 1 << 20
"""Bytes; a disk with less is full."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRITE_ERRORS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EFBIG, errno.EIO,
)  # fmt: skip


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Digest of edgeimg's own code: part of every derived key, so a new builder rebuilds."""
    package = Path(str(files("edgeimg")))
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and not {"__pycache__", "data"} & set(path.relative_to(package).parts):
            digest.update(f"{path.relative_to(package)}\0".encode())
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
    if directory := os.environ.get("EDGEIMG_CACHE"):
        return Path(directory)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeimg"


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into one clear line.

    If a tool fails while the disk of `path` is full, the full disk is reported as the reason,
    because not all tools report it. (So use this inside the block that removes the output.)
    """
    try:
        yield
    except ToolError as error:
        if _free(path) < _NOTHING:
            raise _disk_full(path) from error
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(path) from error
        # mkdir in /proc: the path, or a directory above it, cannot be made.
        absent = error.errno == errno.ENOENT and error.filename is not None
        if error.errno in _WRITE_ERRORS or (
            absent and Path(error.filename) in (path, *path.parents)
        ):
            raise HostError(
                f"cannot write to {path}: {error.strerror}",
                hint="choose another place with EDGEIMG_CACHE or --output",
            ) from error
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by rename: complete or not at all. Makes its directory. Raises HostError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def require_room(path: Path, size: int) -> None:
    """Raises HostError when less than `size` bytes are free on the disk of `path`.

    For tools that do not end when the disk is full: mkfs.erofs 1.8 waits for itself for ever.
    """
    if _free(path) < size:
        raise _disk_full(path)


def _disk_full(path: Path) -> HostError:
    return HostError(
        f"no space left on the disk of {path}",
        hint="free some space (`edgeimg clean` empties the cache) and run it again",
    )


def _free(path: Path) -> int:
    """Bytes free on the disk where `path` is or would be."""
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


@dataclass(frozen=True)
class Store:
    """The cache below `root`; directories are made on first use."""

    root: Path
    progress: Progress = field(default_factory=Silent, compare=False, repr=False)
    """Where to report a damaged result."""

    def blob(self, sha256: str) -> Path:
        """Where the input with this digest is, or would be."""
        return self.root / "blobs" / sha256

    def has_blob(self, sha256: str) -> bool:
        """Whether the input is in the cache. Its content is verified when it is used."""
        return self.blob(sha256).is_file()

    def checked_blob(self, sha256: str, label: str, size: int | None = None) -> Path:
        """The input with this digest, read once more to be sure; `label` names it in errors.

        Raises DamageError when its bytes have changed, and removes it (see `discard_blob`);
        LockError when its right bytes are not `size` bytes.
        """
        path = self.blob(sha256)
        if sha256_file(path) != sha256:
            raise self.discard_blob(sha256, label)
        if size is not None and size != (actual := path.stat().st_size):
            raise LockError(
                f"{label} has {actual} bytes, but its row in the lock names {size}",
                hint="restore the lock, or write it anew with `edgeimg lock --update`",
            )
        return path

    def discard_blob(self, sha256: str, label: str) -> DamageError:
        """Remove an input whose bytes have changed. Returns the error to raise."""
        path = self.blob(sha256)
        with disk_errors(path):
            path.unlink(missing_ok=True)
        return DamageError(
            f"{label} in the cache does not have the locked sha256 {sha256}: it was damaged or "
            "changed after it was fetched, and is removed",
            hint="run it again, not --offline: it is fetched anew",
        )

    @property
    def results(self) -> Path:
        """The directory of the results of stages."""
        return self.root / "derived"

    def partial(self, name: str) -> Path:
        """A path for work under way, on the same file system as the final names."""
        directory = self.root / "partial"
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        return directory / name

    def derived(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the result named `key`; when it is missing or damaged, `make(path)` makes it.

        `make` writes a file or a directory at the path of its argument. When it raises, nothing
        remains. Concurrent callers wait for the first one. A result is not used unless it
        has the digest that it was made with.
        """
        final = self.results / key
        if _is_usable(final):
            return final
        with self.lock(key), disk_errors(self.root):
            if _is_usable(final):
                return final
            final.parent.mkdir(parents=True, exist_ok=True)
            with self.work(key[:16]) as directory, disk_errors(self.root):
                if os.path.lexists(final):
                    self._report(final)
                result = directory / "result"
                make(result)
                digest = seal.digest(result)
                if os.path.lexists(final):
                    final.rename(directory / "damaged")
                result.rename(final)
                seal.write(final, digest)
        return final

    def _report(self, result: Path) -> None:
        if seal.place(result).is_file():
            self.progress.note(
                f"the cached result {result} was damaged after it was made: it is made again"
            )
        else:
            self.progress.debug(f"the cached result {result} has no digest: it is made again")

    @contextlib.contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A new work directory. It is removed at the end of the block."""
        parent = self.partial(name).parent
        with disk_errors(parent):
            while True:
                directory = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=parent))
                owner = (directory / owned.OWNER).open("ab")
                fcntl.flock(owner, fcntl.LOCK_EX)
                # A sweep may remove it before it is locked.
                if owned.is_still(owner, directory / owned.OWNER):
                    break
                owner.close()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            owner.close()

    def sweep(self) -> None:
        """Remove the files of killed builds in partial/. Downloads that can be resumed stay.

        Digests of removed results are removed as well.
        """
        for path in _entries(self.root / seal.DIGESTS):
            if not os.path.lexists(self.results / path.name):
                path.unlink(missing_ok=True)
        for path in _entries(self.root / "partial"):
            with contextlib.suppress(OSError):
                if path.suffix == ".lock":
                    owned.sweep_lock(path)
                elif owned.is_abandoned(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the cache's lock of that name. It is released when the holder is killed."""
        path = self.partial(f"{name}.lock")
        while True:
            with disk_errors(path):
                file = path.open("ab")
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not owned.is_still(file, path):  # its last holder has removed it meanwhile
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _entries(directory: Path) -> Iterator[Path]:
    yield from directory.iterdir() if directory.is_dir() else ()


def _is_usable(result: Path) -> bool:
    """Whether a result exists and is undamaged. Sets its modification time, the time of its use."""
    try:
        if time.time() - result.stat().st_mtime > _RECENT:
            os.utime(result)
    except FileNotFoundError:
        return False
    except OSError:  # a read-only cache of another user
        pass
    return seal.holds(result)
