"""The raw disk image in a file, which may be compressed (.raw.zst)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ImageError
from edgeimg.streams import decoding, sparse
from edgeimg.streams.decoding import Source, Stream, chunks
from edgeimg.streams.limits import IMAGE


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The raw image as a stream. Raises ImageError when the file cannot be read or is damaged."""
    try:
        file = path.open("rb")
    except IsADirectoryError:
        raise ImageError(f"{path} is a directory") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None
    with file:
        method = decoding.recognise(file.read(6))
        file.seek(0)
        if method is None:
            yield file
        else:
            yield Stream(file, str(path), method=method, limits=IMAGE, failure=_damaged)


def _damaged(message: str) -> ImageError:
    return ImageError(message, hint="get it once more")


def is_compressed(path: Path) -> bool:
    """Whether the file holds a compressed image. Raises ImageError; see `opened`."""
    with opened(path) as stream:
        return isinstance(stream, Stream)


def measure(path: Path, *, limit: int) -> int:
    """Bytes of the raw image in `path`; reading stops soon after `limit` bytes.

    Raises ImageError when it is damaged.
    """
    size = 0
    with opened(path) as stream:
        for block in chunks(stream):
            size += len(block)
            if size > limit:
                break
    return size


def unpack(path: Path, output: Path) -> None:
    """Write the raw image in `path` to the sparse file `output`.

    Raises ImageError when it is damaged or ends early, HostError when the disk is full.
    """
    with opened(path) as stream, disk_errors(output), output.open("wb") as raw:
        if not sparse.write(chunks(stream), raw):
            raise ImageError(f"{path} is no disk image: it is empty")
