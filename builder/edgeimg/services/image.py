"""A container image → the files and run settings of a container."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchiveError, DigestError
from edgeimg.lock.model import ImagePin
from edgeimg.sources.oci_archive import OciImage, open_image
from edgeimg.sources.oci_layers import flatten
from edgeimg.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Image:
    """Files of a container, and its settings unless the recipe sets them."""

    tree: Tree = field(default_factory=Tree, repr=False)
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: tuple[int, int] = (0, 0)
    """Numbers of user and group."""
    run: dict[str, object] = field(default_factory=dict)
    """The image's settings for running it (image-spec, config.md, `config`)."""
    devices: tuple[str, ...] = ()
    """Paths of its devices and pipes, which are not in the tree."""


def load_image(
    path: Path, pin: ImagePin, arch: Arch, *, store: Store, origin: str, tag: str = ""
) -> Image:
    """The image for `arch` in the archive at `path`, which must be the locked one.

    `tag` selects one of several images; empty for the only one.

    Raises DigestError for another image, ArchitectureError without an image for `arch`,
    ArchiveError when it is damaged or hostile.
    """
    with open_image(path, arch, tag) as image:
        if image.digest != pin.digest:
            raise DigestError(
                f"{path} holds {image.digest[:19]}… for {arch.name}, locked is {pin.digest[:19]}…",
                hint="take the new one with `edgeimg lock`",
            )
        return read_described(image, store, origin)


def read_described(image: OciImage, store: Store, origin: str) -> Image:
    """The settings of an open container image, with its layers as one tree. Raises ArchiveError."""
    flat = flatten(image.layers, store=store, origin=origin)
    return Image(
        tree=flat.tree,
        devices=flat.devices,
        command=(*image.entrypoint, *image.command),
        environment=image.environment,
        workdir=image.workdir,
        user=_numbers(image, flat.tree, origin),
        run=image.run,
    )


def _numbers(image: OciImage, tree: Tree, origin: str) -> tuple[int, int]:
    """`User` of the configuration (`name`, `uid`, `name:group`, …) as numbers."""
    user, _, group = image.user.partition(":")
    users, groups = _accounts(tree, "etc/passwd"), _accounts(tree, "etc/group")
    row = users.get(user)
    if not user:
        return 0, 0
    if not user.isdigit() and row is None:
        raise ArchiveError(f"{origin}: its user {user!r} is not in its /etc/passwd")
    uid = int(user) if user.isdigit() else int(row[2] if row else 0)
    if not group:
        return uid, int(row[3]) if row else 0
    if group.isdigit():
        return uid, int(group)
    if group not in groups:
        raise ArchiveError(f"{origin}: its group {group!r} is not in its /etc/group")
    return uid, int(groups[group][2])


def _accounts(tree: Tree, path: str) -> dict[str, list[str]]:
    node = tree.get(tree.resolve(path))
    lines = node.read().decode("utf-8", "replace").splitlines() if node else []
    rows = (line.split(":") for line in lines)
    return {row[0]: row for row in rows if len(row) > 3 and row[2].isdigit()}
