"""Container images that services are made of: locked by digest, found again when building."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.arch import Arch
from builder.errors import LockError
from builder.lock_model import ArchLock, ImagePin
from builder.progress import Progress
from builder.recipe import Recipe
from builder.recipe_services import Service
from builder.sources import engine
from builder.sources.oci_archive import open_image
from builder.store import Store


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
    """The digests of all images for `arch`, by service.

    What an engine is asked for keeps its digest unless `update` says otherwise (`()`: all, names:
    these services); archives are read each time. Raises LockError, ArchitectureError,
    ArchiveError.
    """
    pins: dict[str, ImagePin] = {}
    for name, service in sorted(recipe.services.items()):
        if service.archive:
            pins[name] = _archive(name, service, arch, project)
        elif service.image:
            locked = old.images.get(name) if old else None
            renew = update is not None and (not update or name in update)
            if locked and locked.reference == service.image and not renew:
                pins[name] = locked
            else:
                pins[name] = engine.resolve(service.image, arch, store=store, progress=progress)
    return pins


def path(
    name: str,
    service: Service,
    pin: ImagePin,
    arch: Arch,
    *,
    project: Path,
    store: Store,
    offline: bool,
    progress: Progress,
) -> Path:
    """The archive with a service's image. Raises LockError, FetchError."""
    if service.archive:
        return _place(name, service, arch, project)
    return engine.fetch(pin, arch, store=store, offline=offline, progress=progress)


def _archive(name: str, service: Service, arch: Arch, project: Path) -> ImagePin:
    with open_image(_place(name, service, arch, project), arch) as image:
        return ImagePin(reference=service.of_image, digest=image.digest)


def _place(name: str, service: Service, arch: Arch, project: Path) -> Path:
    place = project / (service.image_file(arch.name) or "")
    if not place.exists():
        raise LockError(f"services.{name}.archive: there is no {place}")
    return place
