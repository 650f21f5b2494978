"""Container images that services and workloads take: locked by digest, found again in builds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeimg import builtin
from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.errors import LockError
from edgeimg.lock.model import ArchLock, ImagePin
from edgeimg.progress import Progress
from edgeimg.recipe.contents import Contents
from edgeimg.recipe.model import Recipe
from edgeimg.sources import engine
from edgeimg.sources.oci_archive import open_image


def contents(recipe: Recipe) -> dict[str, Contents]:
    """Contents that are a container image, by the name of the service or of the pod image."""
    return {
        group.partition(":")[2]: image
        for group, image in recipe.contents().items()
        if image.of_image
    }


def resolve(
    recipe: Recipe,
    arch: Arch,
    old: ArchLock | None,
    update: Sequence[str] | None,
    *,
    project: Path,
    store: Store,
    progress: Progress,
) -> dict[str, ImagePin]:
    """The digests of all images for `arch`, by name (see `contents`).

    An image of an engine keeps its digest unless `update` selects it (`()`: all, else
    names); archives are read each time. Raises LockError, ArchitectureError, ArchiveError.
    """
    pins: dict[str, ImagePin] = {}
    for name, image in sorted(contents(recipe).items()):
        if image.archive:
            pins[name] = _archive(name, image, arch, project)
        else:
            reference = image.reference(arch.name)
            if not reference:
                raise LockError(
                    f"{name}: its image is named for other architectures than {arch.name}",
                    hint="name one, or leave the architecture out of [image] architectures",
                )
            locked = old.images.get(name) if old else None
            renew = update is not None and (not update or name in update)
            if locked and locked.reference == reference and not renew:
                pins[name] = locked
            else:
                pins[name] = engine.resolve(reference, arch, store=store, progress=progress)
    return pins


def path(
    name: str,
    image: Contents,
    pin: ImagePin,
    arch: Arch,
    *,
    project: Path,
    store: Store,
    offline: bool,
    progress: Progress,
) -> Path:
    """The archive with a locked image. Raises LockError, FetchError."""
    if image.archive:
        return _place(name, image, arch, project)
    return engine.fetch(pin, arch, store=store, offline=offline, progress=progress)


def _archive(name: str, config: Contents, arch: Arch, project: Path) -> ImagePin:
    tag = config.image_tag(arch.name)
    with open_image(_place(name, config, arch, project), arch, tag) as image:
        return ImagePin(reference=config.reference(arch.name), digest=image.digest)


def _place(name: str, image: Contents, arch: Arch, project: Path) -> Path:
    place = builtin.locate(image.image_file(arch.name) or "", project)
    if not place.exists():
        tag = image.image_tag(arch.name)
        hint = f"what follows ':' is the tag of an image in the file: {tag}" if tag else None
        raise LockError(f"{name}: its archive {place} is missing", hint=hint)
    return place
