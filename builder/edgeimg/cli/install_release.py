"""The images of a signed release on a web server, fetched for this machine's architecture."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edgeimg import fetch
from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors
from edgeimg.errors import DigestError, FetchError, ImageError
from edgeimg.fetch import Download
from edgeimg.image.layout import FILES, SIGNATURE, SUMS
from edgeimg.progress import Progress
from edgeimg.release import sums
from edgeimg.text import bounded
from edgeimg.trust import signatures

PATIENCE = 120.0
"""Seconds to wait for the server: a machine may start before its network is there."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_HINT = "see whether the network and the address are right: it is that of the release's directory"


@contextlib.contextmanager
def fetched(
    address: str, key: Path, arch: Arch, *, store: Store, progress: Progress
) -> Iterator[Path]:
    """A directory with the images for `arch` of the release at `address`, and its signed list.

    The list is believed because `key`, a public key file, has signed it, and every file because
    of its digest there. Raises FetchError, VerifyError, ImageError without an image for `arch`.
    """
    base = address.rstrip("/")
    _wait_for_server(base, progress)
    with store.work("release") as folder, disk_errors(store.root):
        for name in (SUMS, SIGNATURE):
            (folder / name).write_bytes(_small(f"{base}/{name}"))
        listing = bounded.read(folder / SUMS, sums.LARGEST)
        signatures.verify(listing, bounded.read(folder / SIGNATURE, sums.LARGEST), key)
        wanted = {
            name: digest
            for name, digest in sums.parse(listing, folder / SUMS).items()
            if any(name.endswith(f"_{arch.name}{suffix}") for suffix in FILES)
        }
        if not wanted:
            raise ImageError(f"the release at {base} has no image for {arch.name}")
        downloads = [
            Download(name, digest, None, (f"{base}/{name}",)) for name, digest in wanted.items()
        ]
        try:
            fetch.fetch(downloads, store, offline=False, progress=progress)
            for item in downloads:  # those of the cache are read once more
                path = fetch.fetch_file(item, store, offline=False, progress=progress)
                os.link(path, folder / item.name)
        except (DigestError, FetchError) as error:
            raise FetchError(error.message, hint=_HINT) from error
        yield folder


def _small(url: str) -> bytes:
    try:
        return fetch.read([url], limit=sums.LARGEST, name=url.rpartition("/")[2])
    except FetchError as error:
        raise FetchError(error.message, hint=_HINT) from error


def _wait_for_server(base: str, progress: Progress) -> None:
    """Wait until the server takes connections, at most `PATIENCE`; not with a proxy."""
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    end = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=5).close()
        except OSError:
            if time.monotonic() >= end:
                return  # the download says what is wrong
            if not told:
                progress.note(f"waiting for {parts.hostname}")
                told = True
            time.sleep(1)
        else:
            return
