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
from edgeimg.fetch import Wanted, mirrors
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
class Kept:
    """What a run did: files by their paths in the directory, and bytes."""

    files: int = 0
    size: int = 0
    added: list[str] = field(default_factory=list)
    """Paths of the files that were missing or damaged."""


def keep(
    lock: Lock,
    directory: Path,
    *,
    store: Store,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> Kept:
    """Bring every package and every file of K3s that `lock` names below `directory`.

    What is there is read and checked, what is in the cache is copied, the rest is fetched; nothing
    is removed. Stopped at any moment, it goes on where it was. Raises FetchError (after
    everything else is kept, for K3s), DigestError, HostError.
    """
    packages = wanted_packages(lock, env)
    kept = Kept()
    own = Store(directory / _UNFINISHED, progress)
    with own.lock("mirror"):
        for items in (packages, wanted_k3s(lock, env)):
            lacking = _lacking(items, directory, kept, progress)
            for item in lacking.values():
                _copy(item, store, own)
            fetch.fetch(lacking.values(), own, offline=False, progress=progress)
            for path, item in lacking.items():
                _publish(own.checked_blob(item.sha256, item.name, item.size), directory / path, own)
                kept.added.append(path)
                kept.size += (directory / path).stat().st_size
        shutil.rmtree(own.root, ignore_errors=True)
    return kept


def wanted_packages(lock: Lock, env: Mapping[str, str]) -> dict[str, Wanted]:
    """The packages of all images and tools, by their paths in the directory."""
    known = mirrors.from_host(env)
    packages: set[Package] = {p for image in lock.images.values() for p in image.packages()}
    packages |= {p for hosts in lock.tools.values() for group in hosts.values() for p in group}
    return {f"{p.archive}/{p.path}": fetch.wanted([p], known)[0] for p in sorted(packages)}


def wanted_k3s(lock: Lock, env: Mapping[str, str]) -> dict[str, Wanted]:
    """K3s' binaries and archives of images, by their paths in the directory."""
    assets: list[K3sAsset] = []
    for _, image in sorted(lock.images.items()):
        assets += filter(None, (image.k3s, image.airgap))
    return {
        f"k3s/{asset.version}/{asset.url.rpartition('/')[2]}": k3s_release.wanted(asset, env=env)
        for asset in assets
    }


def images_of_engines(recipe: Recipe, lock: Lock) -> list[str]:
    """Container images that builds take from a Docker engine: a mirror does not keep these."""
    found = set()
    for arch in (arch for arch in recipe.archs if arch.name in lock.images):
        pins = lock.images[arch.name].images
        for name, made in container_images.taken(recipe.for_arch(arch)).items():
            if not made.archive and name in pins:
                found.add(f"{pins[name].reference} {pins[name].digest}")
    return sorted(found)


def _lacking(
    items: Mapping[str, Wanted], directory: Path, kept: Kept, progress: Progress
) -> dict[str, Wanted]:
    lacking = {}
    with progress.task("Checking what is there", len(items), "items") as advance:
        for path, item in items.items():
            place = directory / path
            with disk_errors(place):
                whole = place.is_file() and sha256_file(place) == item.sha256
            if whole:
                kept.size += place.stat().st_size
            else:
                lacking[path] = item
            advance(1)
    kept.files += len(items)
    return lacking


def _copy(item: Wanted, store: Store, own: Store) -> None:
    """Take a file out of the cache, when it is there and whole."""
    if own.has_blob(item.sha256) or not store.has_blob(item.sha256):
        return
    part = own.partial(f"{item.sha256}.part")
    with disk_errors(part):
        shutil.copyfile(store.blob(item.sha256), part)
        if sha256_file(part) == item.sha256:
            own.blob(item.sha256).parent.mkdir(parents=True, exist_ok=True)
            part.rename(own.blob(item.sha256))
        else:
            part.unlink()


def _publish(blob: Path, place: Path, own: Store) -> None:
    """By rename; the blob stays, since other paths may have the same bytes."""
    part = own.partial("published")
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            os.link(blob, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(blob, part)
        part.rename(place)
