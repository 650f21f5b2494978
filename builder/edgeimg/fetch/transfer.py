"""One download: continue or begin, bound, hash, and go to the next mirror where one fails.

A file is resumed with a Range request (RFC 9110 §14). If its digest is wrong, it is fetched
once more from its beginning.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeimg.cache.store import CHUNK
from edgeimg.errors import DigestError, FetchError
from edgeimg.fetch.http import (
    BACKOFF,
    HINT_NETWORK,
    NETWORK,
    TRIES,
    GoneError,
    TemporaryError,
    blocks,
    get,
    plain,
)
from edgeimg.fetch.session import Session
from edgeimg.progress import Advance

MAX_UNKNOWN = 1 << 30
"""Largest size in bytes of a file whose size is not in the lock."""
_HINT_MISSING = (
    "the archive has moved on: run `edgeimg lock --update`, or name a mirror that still has it "
    "with EDGEIMG_MIRROR: one made by `edgeimg mirror`, or a snapshot of the archive"
)
_HINT_BAD = (
    "a mirror or proxy serves other content than was locked: name another with EDGEIMG_MIRROR; "
    "`edgeimg lock --update` only if the change is expected"
)


@dataclass(frozen=True)
class Download:
    """One input: name, digest, size, and URLs with the best one first."""

    name: str
    sha256: str
    size: int | None
    urls: tuple[str, ...]


class Cancelled(Exception):  # noqa: N818
    """Another download failed, or the user stopped the run."""


class _BadError(Exception):
    """This URL has other bytes than the locked ones."""


@dataclass
class Job:
    """One download under way."""

    item: Download
    part: Path
    session: Session
    cancel: threading.Event
    advance: Advance
    counted: int = 0

    def count_to(self, position: int) -> None:
        """Move the bar to `position` bytes of this file, back as well."""
        self.advance(position - self.counted)
        self.counted = position


def download(job: Job) -> None:
    """Complete and verify the part from the first URL that has the right bytes."""
    failures: list[tuple[str, Exception]] = []
    for url in job.item.urls:
        for attempt in range(TRIES):
            if job.cancel.is_set():
                raise Cancelled
            try:
                return _transfer(job, url)
            except (GoneError, _BadError) as error:
                failures.append((url, error))
                break
            except (TemporaryError, *NETWORK) as error:
                if attempt + 1 == TRIES:
                    failures.append((url, error))
                else:
                    job.cancel.wait(getattr(error, "wait", 0.0) or BACKOFF * 2**attempt)
    raise _failure(job.item, failures)


def _transfer(job: Job, url: str) -> None:
    """One try: continue the part, or begin it anew, and check the result."""
    item = job.item
    bound = MAX_UNKNOWN if item.size is None else item.size
    with job.part.open("a+b") as file:
        have, digest = _hash_part(file, bound)
        resumed = have > 0
        job.count_to(have)
        if have != item.size:
            with (
                job.session.deadline() as deadline,
                get(job.session, url, have, deadline) as response,
            ):
                if have and response.status_code != 206:
                    file.truncate(0)
                    have, digest, resumed = 0, hashlib.sha256(), False
                for block in blocks(response, deadline):
                    if job.cancel.is_set():
                        raise Cancelled
                    have += len(block)
                    if have > bound:
                        break
                    file.write(block)
                    digest.update(block)
                    job.count_to(have)
        file.flush()
        os.fsync(file.fileno())
        if item.size is not None and have < item.size:
            raise TemporaryError(f"the connection ended after {have} of {item.size} bytes")
        if have <= bound and digest.hexdigest() == item.sha256:
            return
        file.truncate(0)
    problem = (
        f"larger than the expected {bound} bytes"
        if have > bound
        else (f"its sha256 is {digest.hexdigest()}")
    )
    raise TemporaryError("resumed, but its content has changed") if resumed else _BadError(problem)


def _hash_part(file: BinaryIO, bound: int) -> tuple[int, hashlib._Hash]:
    """Size and running digest of a part of an earlier run. A part that is too long is dropped."""
    digest = hashlib.sha256()
    if file.seek(0, os.SEEK_END) > bound:
        file.truncate(0)
    file.seek(0)
    while block := file.read(CHUNK):
        digest.update(block)
    return file.tell(), digest


def _failure(item: Download, failures: list[tuple[str, Exception]]) -> DigestError | FetchError:
    size = "" if item.size is None else f"{item.size} bytes, "
    lines = [
        f"cannot download {item.name} ({size}sha256 {item.sha256})",
        *(f"{url}: {plain(error)}" for url, error in failures),
    ]
    message = "\n  ".join(lines)
    if any(isinstance(error, _BadError) for _, error in failures):
        return DigestError(message, hint=_HINT_BAD)
    missing = failures and all(type(error) is GoneError for _, error in failures)
    return FetchError(message, hint=_HINT_MISSING if missing else HINT_NETWORK)
