"""Target of a flash: a block device or a file, without the page cache where possible.

Bytes are written at their offset, and data that is read back comes from the medium.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edgeimg.errors import HostError
from edgeimg.flash.source import CHUNK
from edgeimg.image.partitions import SECTOR

_BLKRRPART, _BLKSSZGET, _BLKDISCARD, _BLKGETSIZE64 = 0x125F, 0x1268, 0x1277, 0x80081272
"""ioctl(2) numbers of linux/fs.h, the same on every architecture that runs edgeimg."""
_ALIGNED = 4096


class Target:
    """An open device or file."""

    def __init__(self, fd: int, path: Path, *, direct: bool) -> None:
        self._fd, self._path, self._direct = fd, path, direct
        self._buffer = mmap.mmap(-1, CHUNK)  # page-aligned, as O_DIRECT wants it
        self.is_device = stat.S_ISBLK(os.fstat(fd).st_mode)
        self.size = _size(fd, self.is_device)
        self.sector = _sector(fd, self.is_device)
        """Bytes that the disk's partition table counts in; of a file 512."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data`, at most CHUNK bytes. Raises HostError."""
        self._buffer[: len(data)] = data
        count = 0
        with self._unaligned(offset, len(data)), self._errors("write", offset):
            while count < len(data):
                with memoryview(self._buffer)[count : len(data)] as chunk:
                    count += os.pwrite(self._fd, chunk, offset + count)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes, at most CHUNK, from the medium. Raises HostError."""
        count = 0
        if not self._direct:
            os.posix_fadvise(self._fd, offset, size, os.POSIX_FADV_DONTNEED)
        with self._unaligned(offset, size), self._errors("read", offset):
            while count < size:
                with memoryview(self._buffer)[count:size] as chunk:
                    size_read = os.preadv(self._fd, [chunk], offset + count)
                if not size_read:
                    raise OSError(errno.EIO, "it ends here")
                count += size_read
        return self._buffer[:size]

    @contextlib.contextmanager
    def reader(self) -> Iterator[Target]:
        """The same device or file once more, for another thread to read from."""
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if self._direct else 0)
        with self._errors("read", None):
            # Not by its name, which may lead elsewhere by now.
            fd = os.open(f"/proc/self/fd/{self._fd}", flags)
        try:
            yield type(self)(fd, self._path, direct=self._direct)
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Wait until everything is on the medium. Raises HostError."""
        with self._errors("flush", None):
            os.fsync(self._fd)

    def discard(self, start: int, end: int) -> bool:
        """Discard these bytes on the device. Returns whether it supports that."""
        if not self.is_device or end <= start:
            return False
        try:
            fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", start, end - start))
        except OSError:
            return False
        return True

    def reread_partitions(self) -> bool:
        """Have the kernel look at the new partition table; whether it did."""
        if not self.is_device:
            return True
        try:
            fcntl.ioctl(self._fd, _BLKRRPART)
        except OSError:
            return False
        return True

    def resize(self, size: int) -> None:
        """Make a file as large as the image. Raises HostError."""
        with self._errors("resize", None):
            os.ftruncate(self._fd, size)
        self.size = size

    @contextlib.contextmanager
    def _unaligned(self, offset: int, size: int) -> Iterator[None]:
        """O_DIRECT takes whole blocks only: the last part of an image is written without it."""
        odd = self._direct and (offset % _ALIGNED or size % _ALIGNED)
        if odd:
            self._set_direct(False)
        try:
            yield
        finally:
            if odd:
                self._set_direct(True)

    def _set_direct(self, direct: bool) -> None:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        flags = flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)

    @contextlib.contextmanager
    def _errors(self, action: str, offset: int | None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            position = "" if offset is None else f" at byte {offset}"
            raise HostError(
                f"{self._path}: cannot {action}{position}: {error.strerror}",
                hint=_HINTS.get(error.errno or 0, "the medium or its reader is broken: try others"),
            ) from None


_HINTS = {errno.ENOSPC: "make room, or take a larger medium"}


@contextlib.contextmanager
def opened(path: Path, *, create: bool = False) -> Iterator[Target]:
    """Open a device or file for writing and reading back. A device is opened exclusively.

    Raises HostError, saying why it cannot be had.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISBLK(path.stat().st_mode):
            flags |= os.O_EXCL  # of a device: unless a file system or another driver has it
    try:
        fd, direct = _open(path, flags)
    except OSError as error:
        raise refusal(path, error) from None
    try:
        yield Target(fd, path, direct=direct)
    finally:
        os.close(fd)


def _open(path: Path, flags: int) -> tuple[int, bool]:
    # A file that is new is its owner's alone: the image may hold a gateway's secrets.
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # The file system does not support O_DIRECT; the file may exist nevertheless.
    return os.open(path, flags & ~(os.O_EXCL if flags & os.O_CREAT else 0), 0o600), False


def refusal(path: Path, error: OSError) -> HostError:
    """The error of the kernel with a hint."""
    match error.errno:
        case errno.EBUSY:
            return HostError(
                f"{path} is in use: the kernel does not hand it out",
                hint="unmount it, and end the programs that use it",
            )
        case errno.EACCES | errno.EPERM:
            return HostError(
                f"you may not write to {path}",
                hint="run it with sudo, or join the group that owns the device (often 'disk')",
            )
        case errno.EROFS:
            return HostError(f"{path} is write-protected", hint="look for its switch")
        case errno.ENOMEDIUM:
            return HostError(f"there is no medium in {path}", hint="put one in")
    return HostError(f"cannot open {path}: {error.strerror}")


def _size(fd: int, is_device: bool) -> int:
    if not is_device:
        return os.fstat(fd).st_size
    packed = fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8))
    return int(struct.unpack("Q", packed)[0])


def _sector(fd: int, is_device: bool) -> int:
    if not is_device:
        return SECTOR
    packed = fcntl.ioctl(fd, _BLKSSZGET, bytes(4))
    return int(struct.unpack("i", packed)[0])
