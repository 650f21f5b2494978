"""The files a release consists of, written beside each other and published by rename.

<id>_<version>_<arch>.raw.zst         the disk, for flashing and downloading
<id>_<version>_<arch>.bmap            which blocks of it have to be written
<id>_<version>_<arch>.manifest.json   what is in it
SHA256SUMS                            as sha256sum(1) and systemd-sysupdate(8) read it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import disk_errors, sha256_file
from edgeimg.image import bmap
from edgeimg.image.layout import SHARED, SUMS
from edgeimg.image.manifest import Manifest, encode
from edgeimg.progress import Progress
from edgeimg.tools import Toolbox

LEVEL = 9
WINDOW = 27
"""log2 of the match window: the most that zstd decompresses without being told to."""
THREADS = 2
TIMEOUT = 1800.0


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One finished file; `size` is in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """All files of an image, in `directory`."""

    directory: Path
    files: tuple[PublishedFile, ...]

    def file(self, suffix: str) -> PublishedFile:
        """The file with that suffix, such as `.raw.zst`."""
        return next(file for file in self.files if file.name.endswith(suffix))


def compress(disk: Path, output: Path, *, toolbox: Toolbox) -> None:
    """Write `disk` to `output` with zstd. Equal disks give equal bytes.

    The frame is cut by level and window, never by the number of threads, as long as that is
    not zero; it is fixed all the same. Raises ToolError.
    """
    toolbox.run(
        "zstd", f"-{LEVEL}", f"--long={WINDOW}", f"-T{THREADS}", "--quiet", "--force",
        "-o", str(output), str(disk), timeout=TIMEOUT,
    )  # fmt: skip


def publish_build(
    disk: Path,
    manifest: Manifest,
    directory: Path,
    *,
    name: str,
    toolbox: Toolbox,
    progress: Progress,
    accept: Callable[[int], None] = lambda _: None,
) -> Published:
    """Write the files of an image to `directory` under names that begin with `name`.

    `manifest` describes `disk`, with the sizes of its `root` and `verity`. `accept` is given
    the size of the download (bytes); when it raises, nothing is published. Files of an earlier
    build are replaced; SHA256SUMS comes last, so whoever sees it sees all of them. Raises
    ToolError, HostError when the disk of the host is full.
    """
    with _work(directory) as work:
        with disk_errors(directory), progress.task("Compressing the image", None):
            compress(disk, work / f"{name}.raw.zst", toolbox=toolbox)
        accept((work / f"{name}.raw.zst").stat().st_size)
        (work / f"{name}.bmap").write_bytes(_block_map(disk, manifest))
        (work / f"{name}.manifest.json").write_bytes(encode(manifest.to_json()))
        files = tuple(describe(path) for path in sorted(work.iterdir()))
        _rename(work, directory, files)
        (directory / SHARED).unlink(missing_ok=True)
    return Published(directory=directory, files=files)


def adopt(directory: Path, fill: Callable[[Path], bool], *, name: str) -> bool:
    """Publish an image that was built elsewhere, as `publish` does, and mark it as such (SHARED).

    `fill` writes its files, whose names begin with `name`, to the directory of its argument. When
    it returns False, nothing is published. Returns whether something is. Raises HostError.
    """
    with _work(directory) as work:
        if not fill(work):
            return False
        files = tuple(describe(path) for path in sorted(work.iterdir()))
        download = next(file for file in files if file.name == f"{name}.raw.zst")
        (directory / SHARED).write_text(download.sha256)
        _rename(work, directory, files)
    return True


@contextlib.contextmanager
def _work(directory: Path) -> Iterator[Path]:
    """A new directory for files that will be published, on the file system of their final names."""
    work = directory / ".partial"
    with disk_errors(directory), _turn(directory):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Two builds that publish to the same directory take turns."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _block_map(disk: Path, manifest: Manifest) -> bytes:
    sizes = {"root-a": manifest.sizes["root"], "root-a-verity": manifest.sizes["verity"]}
    used = bmap.content_sizes(disk, manifest.disk, sizes)
    return bmap.document(disk, bmap.ranges(manifest.disk, used))


def describe(path: Path) -> PublishedFile:
    """A file with its size and digest. Raises OSError."""
    return PublishedFile(name=path.name, size=path.stat().st_size, sha256=sha256_file(path))


def _rename(work: Path, directory: Path, files: tuple[PublishedFile, ...]) -> None:
    sums = work / SUMS
    sums.write_text("".join(f"{file.sha256}  {file.name}\n" for file in files))
    # Without its list a half-replaced set of files is no image to anybody.
    (directory / SUMS).unlink(missing_ok=True)
    for file in files:
        (work / file.name).rename(directory / file.name)
    sums.rename(directory / SUMS)
