"""K3s' releases: names, URLs and sha256 digests of their files.

K3s publishes no signatures, so a sha256 is the trust anchor: the recipe's pin, or else the digest
in the release's own checksum file when the lock was first written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.errors import DamageError, DigestError, FetchError
from edgeimg.fetch import Download, fetch_file, probe_size, read
from edgeimg.lock.model import K3sAsset
from edgeimg.progress import Progress
from edgeimg.recipe.model import Recipe

VARIABLE = "EDGEIMG_K3S_URL"
"""Base URLs of mirrors (separated by spaces), used in place of the recipe's."""
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})[ \t]+\*?(\S+)")
_MAX_CHECKSUMS = 1 << 20
_ALTERNATIVES = (
    f"name a mirror of the K3s releases ({VARIABLE} or url in [k3s]); take a binary that you "
    "have: --k3s PATH; or, for tests only, the stand-in: --k3s standin"
)
_HINT_DIGEST = (
    "either the source is not to be trusted, or the sha256 belongs to another version: compare "
    "[k3s] version and [k3s.sha256] with the release's checksum file"
)


def asset_name(arch: Arch) -> str:
    """The release's binary for an architecture: `k3s`, `k3s-arm64`, `k3s-armhf`."""
    return f"k3s{arch.k3s_suffix}"


def asset_url(base: str, version: str, name: str) -> str:
    """The URL of a release's file; the `+` of a version is `%2B` there."""
    return f"{base.rstrip('/')}/{quote(version, safe='')}/{name}"


def resolve(
    recipe: Recipe,
    arch: Arch,
    *,
    previous: K3sAsset | None,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> K3sAsset | None:
    """K3s' entry for the lock of `arch`; `recipe` has the overrides of `arch` applied.

    The sha256 is the recipe's pin, else that of `previous` when it is the same version, else it
    is taken from the release's checksum file on trust, with a note. None when the recipe uses no
    release binary and pins none. Raises FetchError when the checksum file is needed and
    cannot be had.
    """
    if recipe.k3s.is_absent:
        return None
    pinned = recipe.k3s.sha256.get(arch.name)
    if recipe.k3s.source != "release" and not pinned:
        same_version = previous is not None and previous.version == recipe.k3s.version
        if not same_version:
            return None
    return locked(
        recipe, arch, asset_name(arch), previous=previous, pinned=pinned, progress=progress, env=env
    )


def locked(
    recipe: Recipe,
    arch: Arch,
    name: str,
    *,
    previous: K3sAsset | None,
    pinned: str | None,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> K3sAsset:
    """The lock's entry for the release's file `name`.

    Its sha256 is `pinned`, else that of `previous` when it is of the same version, else the
    release's. Raises FetchError when the checksum file is needed and cannot be had.
    """
    k3s = recipe.k3s
    earlier = previous if previous is not None and previous.version == k3s.version else None
    sha256 = pinned or (earlier.sha256 if earlier else None)
    if sha256 is None:
        sha256 = _published_sha256(recipe, arch, name, env)
        progress.note(
            f"{name} {k3s.version} is not pinned: took {sha256} from the release's own checksum "
            f"file on trust; pin it in {_table(name, arch)}"
        )
    url = asset_url(k3s.url, k3s.version, name)
    size = earlier.size if earlier and earlier.sha256 == sha256 else None
    if size is None:
        mirrors = _urls(url, k3s.version, name, env)
        size = next(filter(None, map(probe_size, mirrors)), None)
    return K3sAsset(version=k3s.version, url=url, size=size, sha256=sha256)


def download(asset: K3sAsset, *, env: Mapping[str, str] = os.environ) -> Download:
    """The fetch plan of a locked binary: the mirrors of the environment, else the locked URL."""
    name = asset.url.rpartition("/")[2]
    urls = _urls(asset.url, asset.version, name, env)
    return Download(f"{name} {asset.version}", asset.sha256, asset.size, urls)


def fetch_k3s(
    asset: K3sAsset,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> Path:
    """Bring the locked binary into the store and return its path there.

    Raises FetchError, saying which ways there are without the release, or DigestError.
    """
    item = download(asset, env=env)
    try:
        return fetch_file(item, store, offline=offline, progress=progress)
    except DamageError:
        raise
    except FetchError as error:
        raise FetchError(error.message, hint=error.hint if offline else _ALTERNATIVES) from error
    except DigestError as error:
        raise DigestError(error.message, hint=_HINT_DIGEST) from error


def _table(name: str, arch: Arch) -> str:
    """Where a recipe pins a release's file."""
    return "[k3s.sha256]" if name == asset_name(arch) else "[k3s.airgap_sha256]"


def _urls(url: str, version: str, name: str, env: Mapping[str, str]) -> tuple[str, ...]:
    mirrors = env.get(VARIABLE, "").split()
    return tuple(asset_url(base, version, name) for base in mirrors) or (url,)


def _published_sha256(recipe: Recipe, arch: Arch, asset: str, env: Mapping[str, str]) -> str:
    version, name = recipe.k3s.version, f"sha256sum-{arch.k3s_airgap}.txt"
    urls = _urls(asset_url(recipe.k3s.url, version, name), version, name, env)
    try:
        text = read(urls, limit=_MAX_CHECKSUMS, name=f"{name} of K3s {version}")
    except FetchError as error:
        raise FetchError(
            error.message, hint=f"pin it in {_table(asset, arch)}; or {_ALTERNATIVES}"
        ) from error
    return parse_checksums(text.decode("utf-8", "replace"), asset, urls[0])


def parse_checksums(text: str, name: str, label: str) -> str:
    """The sha256 of the file `name` in a sha256sum(1) list. Raises FetchError without it."""
    for line in text.splitlines():
        match = _CHECKSUM_LINE.fullmatch(line.strip())
        if match and match[2].rpartition("/")[2] == name:
            return match[1]
    raise FetchError(
        f"{label}: holds no sha256 of {name}",
        hint="check [k3s] version and url: the answer may not be from a K3s release",
    )
