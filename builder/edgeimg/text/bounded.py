"""Reading files that others made: regular ones, and never more bytes than was agreed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def opened(path: Path) -> BinaryIO:
    """A regular file, to be read.

    Raises OSError, whose `strerror` is fit for a message: also for pipes, devices and
    directories (EINVAL).
    """
    # Without O_NONBLOCK, opening a pipe waits for whoever writes to it.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb")
    os.close(number)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises OSError as `opened`, and for larger files (EFBIG).
    """
    data = bytearray()
    with opened(path) as file:
        while block := file.read(min(1 << 20, limit + 1 - len(data))):
            data += block
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {size(limit)}", str(path))
    return bytes(data)


def size(limit: int) -> str:
    """A limit in bytes as messages name it: `16 MiB`, `64 KiB`."""
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
