"""A lock → a directory that a build can take every input from, served by any web server.

debian/pool/…  debian-security/pool/…     EDGEIMG_MIRROR, EDGEIMG_SECURITY_MIRROR
k3s/VERSION/k3s-arm64                     EDGEIMG_K3S_URL
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeimg import fetch
from edgeimg.cache.store import Store, disk_errors, sha256_file
from edgeimg.fetch import Download, mirrors
from edgeimg.lock.model import K3sAsset, Lock, Package
from edgeimg.progress import Progress
from edgeimg.recipe.model import Recipe
from edgeimg.sources import container_images, k3s_release

VARIABLES = {
    mirrors.VARIABLES["debian"]: "debian",
    mirrors.VARIABLES["debian-security"]: "debian-security",
    k3s_release.VARIABLE: "k3s",
}
"""Which part of the directory each variable names."""
_UNFINISHED = ".unfinished"


@dataclass(kw_only=True)
class MirrorRun:
    """Result of a run: number of files, bytes, and paths of new files in the directory."""

    files: int = 0
    size: int = 0
    added: list[str] = field(default_factory=list)
    """Paths of the files that were missing or damaged."""


def mirror_files(
    lock: Lock,
    directory: Path,
    *,
    store: Store,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> MirrorRun:
    """Bring every package and every file of K3s that `lock` names below `directory`.

    Existing files are verified, files of the cache are copied, all others are fetched. Nothing is
    removed. A run that was stopped continues with the next one. Raises FetchError (for K3s only
    after all packages are stored), DigestError, HostError.
    """
    packages = package_files(lock, env)
    run = MirrorRun()
    mirror_store = Store(directory / _UNFINISHED, progress)
    with mirror_store.lock("mirror"):
        for items in (packages, k3s_files(lock, env)):
            lacking = _lacking(items, directory, run, progress)
            for item in lacking.values():
                _copy(item, store, mirror_store)
            fetch.fetch(lacking.values(), mirror_store, offline=False, progress=progress)
            for path, item in lacking.items():
                _publish(
                    mirror_store.checked_blob(item.sha256, item.name, item.size),
                    directory / path,
                    mirror_store,
                )
                run.added.append(path)
                run.size += (directory / path).stat().st_size
        shutil.rmtree(mirror_store.root, ignore_errors=True)
    return run


def package_files(lock: Lock, env: Mapping[str, str]) -> dict[str, Download]:
    """The packages of all images and tools, by their paths in the directory."""
    mirror_list = mirrors.from_host(env)
    packages: set[Package] = {p for image in lock.images.values() for p in image.packages()}
    packages |= {p for hosts in lock.tools.values() for group in hosts.values() for p in group}
    return {
        f"{p.archive}/{p.path}": fetch.package_downloads([p], mirror_list)[0]
        for p in sorted(packages)
    }


def k3s_files(lock: Lock, env: Mapping[str, str]) -> dict[str, Download]:
    """K3s' binaries and archives of images, by their paths in the directory."""
    assets: list[K3sAsset] = []
    for _, image in sorted(lock.images.items()):
        assets += filter(None, (image.k3s, image.airgap))
    return {
        f"k3s/{asset.version}/{asset.url.rpartition('/')[2]}": k3s_release.download(asset, env=env)
        for asset in assets
    }


def images_of_engines(recipe: Recipe, lock: Lock) -> list[str]:
    """Container images that builds take from a Docker engine. A mirror does not hold these."""
    names = set()
    for arch in (arch for arch in recipe.archs if arch.name in lock.images):
        pins = lock.images[arch.name].images
        for name, contents in container_images.contents(recipe.for_arch(arch)).items():
            if not contents.archive and name in pins:
                names.add(f"{pins[name].reference} {pins[name].digest}")
    return sorted(names)


def kernels_of_project(lock: Lock) -> list[str]:
    """Vendors' kernels, which builds take from the project. A mirror does not hold these."""
    pins = {image.kernel for image in lock.images.values() if image.kernel}
    return sorted(f"{pin.path} sha256:{pin.sha256}" for pin in pins)


def _lacking(
    items: Mapping[str, Download], directory: Path, run: MirrorRun, progress: Progress
) -> dict[str, Download]:
    lacking = {}
    with progress.task("Checking existing files", len(items), "items") as advance:
        for path, item in items.items():
            place = directory / path
            with disk_errors(place):
                complete = place.is_file() and sha256_file(place) == item.sha256
            if complete:
                run.size += place.stat().st_size
            else:
                lacking[path] = item
            advance(1)
    run.files += len(items)
    return lacking


def _copy(item: Download, store: Store, mirror_store: Store) -> None:
    """Copy a file from the cache, if it is there and undamaged."""
    if mirror_store.has_blob(item.sha256) or not store.has_blob(item.sha256):
        return
    part = mirror_store.partial(f"{item.sha256}.part")
    with disk_errors(part):
        shutil.copyfile(store.blob(item.sha256), part)
        if sha256_file(part) == item.sha256:
            mirror_store.blob(item.sha256).parent.mkdir(parents=True, exist_ok=True)
            part.rename(mirror_store.blob(item.sha256))
        else:
            part.unlink()


def _publish(blob: Path, place: Path, mirror_store: Store) -> None:
    """By rename; the blob stays, since other paths may have the same bytes."""
    part = mirror_store.partial("published")
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            os.link(blob, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(blob, part)
        part.rename(place)
