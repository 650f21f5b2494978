"""K3s' air-gap images: of the release's archive, those that the wanted components run.

The release's `k3s-airgap-images-ARCH.tar.zst` holds the images of every packaged component, and a
pause image that the gateway has already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, key
from edgeimg.errors import ArchiveError
from edgeimg.lock.model import K3sAsset
from edgeimg.progress import Progress
from edgeimg.recipe.image_name import full_reference
from edgeimg.recipe.model import Recipe
from edgeimg.sources import k3s_release, oci_archive
from edgeimg.streams import decoding

KEY = "k3s-airgap"
"""Name of the archive among the archives of container images."""
LABEL = "K3s' air-gap archive"
"""Its name in errors."""
IMAGES: Mapping[str, tuple[str, ...]] = {
    "coredns": ("rancher/mirrored-coredns-coredns",),
    "local-storage": ("rancher/local-path-provisioner", "rancher/mirrored-library-busybox"),
    "metrics-server": ("rancher/mirrored-metrics-server",),
    "servicelb": ("rancher/klipper-lb",),
    "traefik": ("rancher/mirrored-library-traefik", "rancher/klipper-helm"),
}
"""Images of each packaged component (K3s, manifests/ and pkg/), without tags, which change."""
_MOST_TAGS = 8
"""Of one image in an archive: each is read. The releases have one."""


def asset_name(arch: Arch) -> str:
    """The release's archive for an architecture."""
    return f"k3s-airgap-images-{arch.k3s_airgap}.tar.zst"


def resolve(
    recipe: Recipe,
    arch: Arch,
    *,
    previous: K3sAsset | None,
    progress: Progress,
    env: Mapping[str, str] = os.environ,
) -> K3sAsset | None:
    """The archive's entry for the lock; None when the recipe uses no images of a release.

    Its sha256 is the recipe's pin, else that of `previous`, else the release's.

    Raises FetchError when the release's checksum file is needed and cannot be had.
    """
    if not recipe.k3s.takes_airgap_release:
        return None
    pinned = recipe.k3s.airgap_sha256.get(arch.name)
    return k3s_release.locked(
        recipe, arch, asset_name(arch), previous=previous, pinned=pinned, progress=progress, env=env
    )


def unpack(blob: Path, sha256: str, store: Store) -> Path:
    """The archive with that digest as a plain tar, in the cache. Raises ArchiveError for a damaged
    one."""

    def make(result: Path) -> None:
        with disk_errors(result), blob.open("rb") as packed, result.open("wb") as plain:
            method, size = decoding.recognise(packed.read(6)), blob.stat().st_size
            packed.seek(0)
            for piece in decoding.pieces(packed, LABEL, method=method, packed=size):
                plain.write(piece)

    return store.derived(key("k3s-airgap", "1", sha256), make)


def select(archive: Path, components: tuple[str, ...]) -> dict[str, str]:
    """The images of `components` in a plain archive: as it names them, by full reference.

    Raises ArchiveError when one is not there, or has more tags than releases have.
    """
    tags = {full_reference(tag): tag for tag in oci_archive.tags(archive, label=LABEL)}
    selected: dict[str, str] = {}
    for component in components:
        for repository in IMAGES[component]:
            matching = {
                name: tag for name, tag in tags.items()
                if name.startswith(f"docker.io/{repository}:")
            }  # fmt: skip
            if not matching:
                raise ArchiveError(
                    f"{LABEL} has no {repository}, which {component} runs",
                    hint="remove it from [k3s] airgap, and add its images to a workload",
                )
            if len(matching) > _MOST_TAGS:
                raise ArchiveError(
                    f"{LABEL} has {len(matching)} tags of {repository}, "
                    f"expected {_MOST_TAGS} at most"
                )
            selected |= matching
    return selected
