"""A shared build cache over plain HTTP: GET and PUT of `/ac/<key>` and `/cas/<sha256>`.

The layout is the one of Bazel's, ccache's and sccache's HTTP caches. An entry of `ac` names blobs
of `cas` by digest. No failure is an error: what cannot be had or does not match is a miss, and a
server that fails `MOST_FAILURES` times is not asked again. Redirections are not followed.
Credentials come from netrc (`NETRC`, else `~/.netrc`), which requests reads; no message contains
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import requests

from edgeimg.cache.store import sha256_file
from edgeimg.fetch.http import NETWORK, GoneError, UnusableError, blocks, plain
from edgeimg.fetch.paced import SLOW, Hashed, Output, Pace, Upload
from edgeimg.fetch.session import Deadline, Session
from edgeimg.fetch.shared_address import Address, address
from edgeimg.progress import Progress, Silent
from edgeimg.ui import human

ENTRY_BYTES = 16 << 10
"""Of an entry of `ac`."""
MOST_FAILURES = 3
TIMEOUT = (5.0, 15.0)
"""Seconds to connect, and between two bytes."""
PATIENCE = 20.0
"""Seconds that a request may take before its first byte, and beyond those that RATE allows."""
_HEADERS = {"User-Agent": "edgeimg", "Accept-Encoding": "identity"}
_ABSENT = (404, 410)


class _AbsentError(Exception):
    """The server does not have it: an ordinary miss."""


def probe(where: Address) -> str | None:
    """Why the shared cache cannot be read; None if it answers. It takes `PATIENCE` at most."""
    with contextlib.closing(SharedCache(where)) as cache:
        try:
            with cache._get(f"/ac/{'0' * 64}") as (response, deadline):
                for _ in cache._body(response, deadline, ENTRY_BYTES):
                    pass
        except _AbsentError:
            pass
        except (GoneError, *NETWORK) as error:
            return plain(error)
    return None


@dataclass(eq=False)
class SharedCache:
    """The shared cache of one run. It counts what it does."""

    where: Address
    progress: Progress = field(default_factory=Silent, repr=False)
    hits: int = 0
    """Blobs that were used."""
    misses: int = 0
    """Entries and blobs that were absent, unreachable, or did not match."""
    received: int = 0
    """Bytes."""
    sent: int = 0
    """Bytes."""
    failures: int = 0
    _session: Session = field(default_factory=Session, repr=False)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    @property
    def is_given_up(self) -> bool:
        """Whether the server has failed too often in this run."""
        return self.failures >= MOST_FAILURES

    @property
    def summary(self) -> str:
        """What it has done so far, for `--verbose`."""
        return (
            f"shared cache {self.where.name}: {self.hits} hits, {self.misses} misses, "
            f"{human(self.received)} received, {human(self.sent)} sent"
        )

    def entry(self, key: str) -> bytes | None:
        """The entry of `key` (64 hexadecimal digits), at most ENTRY_BYTES; None is a miss."""
        data = io.BytesIO()
        return data.getvalue() if self._fetch(f"/ac/{key}", data, ENTRY_BYTES) else None

    def blob(self, sha256: str, size: int, path: Path) -> bool:
        """Write the blob to the new file `path`. Without its digest and size it is a miss.

        After a miss there is no file. Raises OSError when it cannot be written.
        """
        digest = hashlib.sha256()
        try:
            with path.open("xb") as file:
                complete = self._fetch(f"/cas/{sha256}", Hashed(file, digest), size, exact=True)
                if complete and digest.hexdigest() != sha256:
                    self._failed(f"/cas/{sha256}: wrong digest")
                    complete = False
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not complete:
            path.unlink()
            return False
        self.hits += 1
        return True

    def reject(self, key: str, reason: str) -> None:
        """Count the entry of `key` as a miss, because what it names is unusable."""
        self._failed(f"/ac/{key}: {reason}")

    def put_blob(self, path: Path) -> str | None:
        """Store a file; its digest, or None if that fails."""
        sha256 = sha256_file(path)
        with path.open("rb") as file:
            return sha256 if self._put(f"/cas/{sha256}", file, path.stat().st_size) else None

    def put_entry(self, key: str, entry: bytes) -> bool:
        """Store an entry, whose blobs are there already. Returns whether it is stored."""
        return self._put(f"/ac/{key}", io.BytesIO(entry), len(entry))

    def _fetch(self, path: str, output: Output, limit: int, *, exact: bool = False) -> bool:
        if self.is_given_up:
            self.misses += 1
            return False
        try:
            size = 0
            with self._get(path) as (response, deadline):
                for block in self._body(response, deadline, limit):
                    size += len(block)
                    output.write(block)
        except _AbsentError:
            self.misses += 1
            self.progress.debug(f"shared cache: miss {path}")
            return False
        except (GoneError, *NETWORK) as error:
            self._failed(f"{path}: {plain(error)}")
            return False
        if exact and size != limit:
            self._failed(f"{path}: {size} bytes instead of {limit}")
            return False
        self.progress.debug(f"shared cache: hit {path}, {size} bytes")
        return True

    @contextlib.contextmanager
    def _get(self, path: str) -> Iterator[tuple[requests.Response, Deadline]]:
        with self._session.deadline(PATIENCE) as deadline:
            response = self._request("GET", path, None)
            with response:
                if response.status_code in _ABSENT:
                    raise _AbsentError
                if response.status_code != 200:
                    raise GoneError(f"HTTP status {response.status_code}")
                # What is compressed on the way may unpack to any size.
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise GoneError("a compressed response")
                yield response, deadline

    def _body(self, response: requests.Response, deadline: Deadline, limit: int) -> Iterator[bytes]:
        length = response.headers.get("Content-Length", "0").strip()
        if not re.fullmatch(r"[0-9]{1,15}", length) or int(length) > limit:
            raise GoneError(f"more than {limit} bytes")
        pace = Pace(deadline, PATIENCE)
        try:
            for block in blocks(response, deadline):
                self.received += len(block)
                pace.count(len(block))
                if pace.bytes > limit:
                    raise GoneError(f"more than {limit} bytes")
                yield block
        except UnusableError as error:
            raise GoneError(SLOW) if deadline.expired else error from error

    def _put(self, path: str, file: IO[bytes], size: int) -> bool:
        if self.is_given_up:
            return False
        try:
            with self._session.deadline(PATIENCE) as deadline:
                body = Upload(file, size, Pace(deadline, PATIENCE))
                with self._request("PUT", path, body) as response:
                    status = response.status_code
        except (GoneError, *NETWORK) as error:
            self._failed(f"{path}: {plain(error)}", wrote=True)
            return False
        if status not in (200, 201, 202, 204):
            self._failed(f"{path}: HTTP status {status}", wrote=True)
            return False
        self.sent += size
        self.progress.debug(f"shared cache: stored {path}, {size} bytes")
        return True

    def _request(self, method: str, path: str, body: Upload | None) -> requests.Response:
        """Raises GoneError, or one of NETWORK."""
        try:
            return self._session.request(
                method, self.where.url + path, data=body, headers=_HEADERS, timeout=TIMEOUT,
                stream=True, allow_redirects=False,
            )  # fmt: skip
        except (GoneError, *NETWORK):
            raise
        except Exception as error:  # whatever it answers
            raise GoneError("the server's answer cannot be understood") from error

    def _failed(self, reason: str, *, wrote: bool = False) -> None:
        self.misses += not wrote
        self.failures += 1
        self.progress.debug(f"shared cache: {'not stored' if wrote else 'miss'} {reason}")
        if self.failures == MOST_FAILURES:
            self.progress.note(
                f"the shared cache {self.where.name} failed {MOST_FAILURES} times and is not used "
                f"again in this run; the last failure: {reason}"
            )


@contextlib.contextmanager
def opened(progress: Progress) -> Iterator[SharedCache | None]:
    """The shared cache of this run; None without one. Raises HostError for a bad address."""
    where = address(os.environ)
    if where is None:
        yield None
        return
    with contextlib.closing(SharedCache(where, progress)) as cache:
        yield cache
