"""Download → blobs in the store: parallel, resumable, bounded, and never used unverified.

A file under way is `partial/<sha256>.part`; it becomes `blobs/<sha256>` by rename once its
digest matches. A killed download is continued by the next run.
"""

from __future__ import annotations

import contextlib
import queue
import resource
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from edgeimg.cache.store import Store, disk_errors
from edgeimg.errors import DamageError, FetchError, HostError
from edgeimg.fetch.http import probe_size, put, read
from edgeimg.fetch.mirrors import Mirrors
from edgeimg.fetch.session import Session
from edgeimg.fetch.transfer import MAX_UNKNOWN, Download, Job, download
from edgeimg.lock.model import Package
from edgeimg.progress import Advance, Progress, Silent

__all__ = [
    "Download",
    "fetch",
    "fetch_file",
    "healed",
    "missing",
    "package_downloads",
    "probe_size",
    "put",
    "read",
]

Result = TypeVar("Result")
_SPACE = 256 << 20
"""Bytes of address space: a worker has two threads, for each of which glibc reserves 128 MiB."""
_OTHERS = 512 << 20
"""Bytes of address space for the rest of edgeimg."""
BAR_BYTES = 20_000_000
"""Files at least this large get a progress bar of their own."""


def package_downloads(packages: Iterable[Package], mirrors: Mirrors) -> list[Download]:
    """The downloads for locked packages, each file once."""
    unique = {package.sha256: package for package in packages}
    return [
        Download(p.path.rpartition("/")[2], p.sha256, p.size, mirrors.urls(p.archive, p.path))
        for p in unique.values()
    ]


def missing(downloads: Iterable[Download], store: Store) -> list[Download]:
    """The downloads that the store lacks, each digest once, largest first (they take longest)."""
    unique = {item.sha256: item for item in downloads if not store.has_blob(item.sha256)}
    return sorted(unique.values(), key=lambda item: (-(item.size or MAX_UNKNOWN), item.name))


def fetch(
    downloads: Iterable[Download],
    store: Store,
    *,
    offline: bool,
    progress: Progress | None = None,
    jobs: int = 8,
) -> None:
    """Bring everything `wanted` into the store.

    Raises FetchError (unreachable, or missing while `offline`), DigestError (no source has the
    locked bytes), HostError (disk full). After KeyboardInterrupt only resumable parts remain.
    """
    downloads = list(downloads)
    todo = missing(downloads, store)
    if not todo:
        return
    if offline:
        raise _missing_offline(todo, len({item.sha256 for item in downloads}))
    _require_space(todo, store)
    progress = progress or Silent()
    total = sum(item.size or 0 for item in todo)
    label = f"{len(todo)} files" if len(todo) > 1 else todo[0].name
    with progress.task(f"Downloading {label}", total or None) as advance:
        _run_workers(todo, store, progress, advance, min(_most_workers(jobs), len(todo)))


def fetch_file(item: Download, store: Store, *, offline: bool, progress: Progress) -> Path:
    """Bring one file into the store and return its path there, its bytes checked.

    A file that was damaged in the store is fetched again. Raises LockError when its size is not
    the locked one, DamageError when it is damaged and `offline`, else as `fetch` does.
    """

    def checked() -> Path:
        fetch([item], store, offline=offline, progress=progress)
        return store.checked_blob(item.sha256, item.name, item.size)

    return healed([item.sha256], checked, store, offline=offline, progress=progress)


def healed(
    sha256: Iterable[str],
    use: Callable[[], Result],
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> Result:
    """The result of `use`, which fetches and uses the files `sha256`.

    When it finds one damaged, the damaged ones are removed and it runs once more. Raises
    DamageError when that is `offline`.
    """
    try:
        return use()
    except DamageError as error:
        if offline:
            raise
        progress.note(f"{error.message}; it is fetched again")
    for digest in sha256:
        with contextlib.suppress(DamageError, FileNotFoundError):
            store.checked_blob(digest, digest)
    return use()


def _most_workers(jobs: int) -> int:
    """`jobs`, or as many as the address space has room for (`ulimit -v`), at least one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return jobs
    return max(1, min(jobs, (limit - _OTHERS) // _SPACE))


def _run_workers(
    todo: list[Download], store: Store, progress: Progress, advance: Advance, jobs: int
) -> None:
    """Daemon threads, so that Ctrl-C ends the program without waiting for a silent server."""
    waiting: queue.SimpleQueue[Download] = queue.SimpleQueue()
    results: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in todo:
        waiting.put(item)
    cancel = threading.Event()

    def work() -> None:
        try:
            with Session() as session:
                while not cancel.is_set():
                    try:
                        item = waiting.get_nowait()
                    except queue.Empty:
                        return
                    _download(item, store, session, cancel, progress, advance)
                    results.put(None)
        except BaseException as error:  # raised again in the caller's thread
            results.put(error)

    for number in range(jobs):
        threading.Thread(target=work, daemon=True, name=f"fetch-{number}").start()
    try:
        for _ in todo:
            error = results.get()
            if error is not None:
                raise error
    finally:
        cancel.set()


def _download(
    item: Download,
    store: Store,
    session: Session,
    cancel: threading.Event,
    progress: Progress,
    advance: Advance,
) -> None:
    with disk_errors(store.root), store.lock(f"{item.sha256}.fetch"):
        if store.has_blob(item.sha256):  # another build fetched it meanwhile
            advance(item.size or 0)
            return
        job = Job(item, store.partial(f"{item.sha256}.part"), session, cancel, advance)
        if (item.size or 0) < BAR_BYTES:
            download(job)
        else:
            with progress.task(item.name, item.size) as bar:
                job.advance = _advance_both(advance, bar)
                download(job)
        final = store.blob(item.sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        job.part.rename(final)


def _advance_both(first: Advance, second: Advance) -> Advance:
    def advance(step: int) -> None:
        first(step)
        second(step)

    return advance


def _missing_offline(todo: list[Download], total: int) -> FetchError:
    names = ", ".join(sorted(item.name for item in todo)[:5])
    more = f" and {len(todo) - 5} more" if len(todo) > 5 else ""
    return FetchError(
        f"offline, but {len(todo)} of {total} inputs are not in the cache: {names}{more}",
        hint="run it once without --offline",
    )


def _require_space(todo: list[Download], store: Store) -> None:
    with disk_errors(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store.root).free
    required = sum(item.size or 0 for item in todo)
    if free < required:
        raise HostError(
            f"no space left for the downloads: {required >> 20} MiB are needed on the disk of "
            f"{store.root}, {free >> 20} MiB are free",
            hint="free some space (`edgeimg clean` empties the cache), or set EDGEIMG_CACHE",
        )
