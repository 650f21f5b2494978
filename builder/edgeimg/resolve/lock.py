"""Recipe → Lock: every input of every architecture, with its size and sha256."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import LockError
from edgeimg.fetch import mirrors
from edgeimg.fetch.mirrors import Mirrors
from edgeimg.lock.model import ArchLock, ImagePin, K3sAsset, KernelPin, Lock, Package
from edgeimg.progress import Progress, Silent
from edgeimg.recipe.model import Recipe
from edgeimg.resolve.requests import Request, digest, image_requests, tool_requests
from edgeimg.resolve.update import KERNEL, kept
from edgeimg.sources import container_images, debian, k3s_airgap, k3s_release


def resolve(
    recipe: Recipe,
    *,
    archs: Sequence[Arch],
    tools_hosts: Sequence[Arch],
    previous: Lock | None,
    update: Sequence[str] | None,
    accept_unsigned: Collection[str],
    store: Store,
    project: Path = Path(),
    kernels: Mapping[str, KernelPin] | None = None,
    progress: Progress | None = None,
    env: Mapping[str, str] = os.environ,
) -> Lock:
    """Resolve `recipe` for the images of `archs` and the tools of `tools_hosts`.

    `update`: None keeps locked versions where the recipe still leads to them; `()` takes new
    versions of everything; names take new versions of these packages (and of the packages
    built from the same source, which need one another in the same version). What `previous`
    holds for other architectures and hosts is kept. `accept_unsigned` names the architectures
    whose package index need not match its signature. Archives that services name are in `project`.
    `kernels` are the vendors' kernels by architecture, as they are now.
    Raises LockError (see `edgeimg.sources.debian`), FetchError, HostError.
    """
    progress, kernels = progress or Silent(), kernels or {}
    recipe_digest = digest(recipe)
    if previous is not None and previous.suite != recipe.packages.suite:
        previous, update = None, ()
    if (
        update is None
        and previous is not None
        and previous.recipe_digest == recipe_digest
        and _complete(previous, recipe, archs, tools_hosts)
        and all(previous.images[arch.name].kernel == kernels.get(arch.name) for arch in archs)
        and not any(content.archive for content in recipe.contents().values())  # a file may change
    ):
        return previous
    mirror_list = mirrors.from_host(env)
    images = dict(previous.images) if previous else {}
    tools = {group: dict(hosts) for group, hosts in previous.tools.items()} if previous else {}
    everywhere = [arch for arch in ARCHITECTURES if arch in archs or arch in tools_hosts]
    with progress.task("Resolving packages", len(everywhere), "items") as advance:
        for arch in everywhere:
            variant = recipe.for_arch(arch)
            unsigned = arch.name in accept_unsigned
            with _index(arch, variant, mirror_list, unsigned, store, progress) as index:
                if arch in archs:
                    old = images.get(arch.name)
                    k3s = old.k3s if old else None
                    asset = k3s_release.resolve(
                        variant, arch, previous=k3s, progress=progress, env=env
                    )
                    pins = container_images.resolve(
                        variant,
                        arch,
                        old,
                        update,
                        project=project,
                        store=store,
                        progress=progress,
                    )
                    images[arch.name] = replace(
                        _image(index, variant, arch, old, update, asset, pins),
                        kernel=kernels.get(arch.name),
                        airgap=k3s_airgap.resolve(
                            variant, arch, previous=old.airgap if old else None, progress=progress,
                            env=env,
                        ),
                    )  # fmt: skip
                if arch in tools_hosts:
                    _add_tools(tools, index, recipe, arch, update)
            advance(1)
    _list_unused_pins(recipe, images, progress)
    groups = tool_requests(recipe)
    tools = {group: hosts for group, hosts in tools.items() if group in groups}
    return Lock(
        recipe_digest=recipe_digest, suite=recipe.packages.suite, images=images, tools=tools
    )


def _image(
    index: debian.Index,
    recipe: Recipe,
    arch: Arch,
    old: ArchLock | None,
    update: Sequence[str] | None,
    asset: K3sAsset | None,
    pins: dict[str, ImagePin],
) -> ArchLock:
    resolved = _groups(index, image_requests(recipe, arch))
    groups = kept(resolved, old.groups if old else {}, update)
    # Packages of an unsigned index stay unsigned, unless the signed index has the same ones.
    doubtful = old is not None and old.unsigned_index and groups != resolved
    return ArchLock(
        groups=groups, k3s=asset, images=pins, unsigned_index=index.unsigned or doubtful
    )


def _add_tools(
    tools: dict[str, dict[str, tuple[Package, ...]]],
    index: debian.Index,
    recipe: Recipe,
    host: Arch,
    update: Sequence[str] | None,
) -> None:
    locked = {group: hosts.get(host.name, ()) for group, hosts in tools.items()}
    for group, packages in kept(_groups(index, tool_requests(recipe)), locked, update).items():
        tools.setdefault(group, {})[host.name] = packages


@contextlib.contextmanager
def _index(
    arch: Arch,
    recipe: Recipe,
    mirror_list: Mirrors,
    unsigned: bool,
    store: Store,
    progress: Progress,
) -> Iterator[debian.Index]:
    suite = recipe.packages.suite
    pin_requests = [request.pins for request in image_requests(recipe, arch).values()]
    with (
        store.work("index") as work,
        debian.open_index(
            arch, suite, mirror_list, accept_unsigned=unsigned, work=work, pin_requests=pin_requests
        ) as index,
    ):
        if index.unsigned:
            progress.note(
                f"{arch.name}: the package index does not match its signature; accepted by option"
            )
        yield index


def _groups(index: debian.Index, requests: Mapping[str, Request]) -> dict[str, tuple[Package, ...]]:
    resolved = {
        group: index.resolve(request.names, request.exclude, request.pins)
        for group, request in requests.items()
    }
    if KERNEL in resolved:
        kernels = tuple(
            package
            for package in resolved[KERNEL]
            if package.name.startswith("linux-image-") and package.name[12:13].isdigit()
        )
        if len(kernels) != 1:
            names = ", ".join(requests[KERNEL].names)
            raise LockError(
                f"{names} leads to {len(kernels)} kernels, expected one",
                hint="set kernel.package in the recipe to a linux-image package",
            )
        resolved[KERNEL] = kernels
    return resolved


def _list_unused_pins(recipe: Recipe, images: Mapping[str, ArchLock], progress: Progress) -> None:
    usage: dict[str, bool] = {}
    for arch in (arch for arch in recipe.archs if arch.name in images):
        names = {package.name for package in images[arch.name].packages()}
        for pin in recipe.for_arch(arch).packages.pin:
            usage[pin] = usage.get(pin, False) or any(fnmatchcase(name, pin) for name in names)
    for pin in sorted(pin for pin, in_use in usage.items() if not in_use):
        progress.note(f"packages.pin names {pin}, and no image has such a package")


def _complete(
    lock: Lock, recipe: Recipe, archs: Sequence[Arch], tools_hosts: Sequence[Arch]
) -> bool:
    return all(arch.name in lock.images for arch in archs) and all(
        host.name in lock.tools.get(group, {})
        for group in tool_requests(recipe)
        for host in tools_hosts
    )
