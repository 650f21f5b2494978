"""The Debian packages of a lock, of images and of tools: fetched, verified and unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterable

from edgeimg import fetch, tools
from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import Store
from edgeimg.errors import LockError
from edgeimg.fetch import mirrors
from edgeimg.lock.file import REPAIR
from edgeimg.lock.model import Lock, Package
from edgeimg.progress import Progress
from edgeimg.sources import deb
from edgeimg.sources.deb import Deb
from edgeimg.tools import Toolbox


def fetch_packages(
    packages: Iterable[Package], store: Store, *, offline: bool, progress: Progress
) -> None:
    """Download the missing packages. Raises FetchError, DigestError, HostError."""
    lacking = [package for package in packages if not store.has_blob(package.sha256)]
    if lacking:
        downloads = fetch.package_downloads(lacking, mirrors.from_host(os.environ))
        fetch.fetch(downloads, store, offline=offline, progress=progress)


def host_tools(
    lock: Lock, group: str, store: Store, *, offline: bool, progress: Progress
) -> Toolbox:
    """The tools tree of one group for this host, fetched and unpacked on first use."""
    host = tools.build_host()
    locked = tools.packages(lock, group, host)

    def prepare() -> Toolbox:
        fetch_packages(locked, store, offline=offline, progress=progress)
        return tools.prepare(lock, group, store, host=host, progress=progress)

    digests = [package.sha256 for package in locked]
    return fetch.healed(digests, prepare, store, offline=offline, progress=progress)


def group(plan: BuildPlan, name: str, store: Store, progress: Progress) -> list[Deb]:
    """The packages of one group of the lock, opened; none when the lock has no such group."""
    packages = plan.inputs.groups.get(name, ())
    fetch_packages(packages, store, offline=plan.offline, progress=progress)
    return [read(package, plan, store, progress) for package in packages]


def read(package: Package, plan: BuildPlan, store: Store, progress: Progress) -> Deb:
    """A package of an image, fetched when it is missing.

    Raises LockError for one of another architecture, FetchError, DigestError, ArchiveError.
    """
    if package.arch not in (plan.arch.debian, "all"):
        raise LockError(
            f"the lock's package {package.name} for {plan.arch.name} is of {package.arch}",
            hint=REPAIR,
        )

    def use() -> Deb:
        fetch_packages([package], store, offline=plan.offline, progress=progress)
        return deb.read_blob(package, blobs=store, store=store)

    return fetch.healed([package.sha256], use, store, offline=plan.offline, progress=progress)
