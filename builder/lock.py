"""Recipe → Lock: every input of every architecture, with its size and sha256."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import mirrors
from builder.arch import ARCHITECTURES, Arch
from builder.errors import LockError
from builder.groups import (
    BOOT_PACKAGES,
    CONTAINER_PACKAGES,
    EXCLUDED,
    INITRD_PACKAGES,
    SERVICE_PACKAGES,
    SERVICES_EXCLUDED,
    TOOL_GROUPS,
    TOOLS_EXCLUDED,
)
from builder.lock_file import dumps, load, write
from builder.lock_model import ArchLock, ImagePin, K3sAsset, Lock, Package
from builder.lock_update import KERNEL, changes, kept
from builder.mirrors import Mirrors
from builder.progress import Progress, Silent
from builder.recipe import Recipe
from builder.sources import container_images, debian, k3s_release
from builder.store import Store

__all__ = [
    "BOOT_PACKAGES",
    "CONTAINER_PACKAGES",
    "INITRD_PACKAGES",
    "ArchLock",
    "K3sAsset",
    "Lock",
    "Package",
    "changes",
    "digest",
    "dumps",
    "load",
    "resolve",
    "verify",
    "write",
]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """One resolution: the packages that are asked for, and those taken as installed."""

    names: tuple[str, ...]
    exclude: tuple[str, ...]


def digest(recipe: Recipe) -> str:
    """Hex sha256 of everything that decides what is resolved, for all architectures."""
    facts: dict[str, Any] = {
        arch.name: {
            "suite": recipe.for_arch(arch).packages.suite,
            "groups": {
                group: [sorted(request.names), sorted(request.exclude)]
                for group, request in _image_requests(recipe.for_arch(arch), arch).items()
            },
            "k3s": _k3s_facts(recipe.for_arch(arch), arch),
            **_image_facts(recipe.for_arch(arch), arch),
        }
        for arch in recipe.archs
    }
    facts["tools"] = {
        group: [sorted(request.names), sorted(request.exclude)]
        for group, request in _tool_requests().items()
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def verify(recipe: Recipe, lock: Lock) -> None:
    """Raise LockError, saying what changed, when `lock` was not made from this recipe."""
    if lock.recipe_digest == digest(recipe):
        return
    reasons = [reason for arch in recipe.archs for reason in _differences(recipe, lock, arch)]
    text = "; ".join(dict.fromkeys(reasons)) or "packages were removed or exclusions changed"
    raise LockError(f"the lock does not fit the recipe any more: {text}", hint="run `edgeimg lock`")


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
    progress: Progress | None = None,
    env: Mapping[str, str] = os.environ,
) -> Lock:
    """Resolve `recipe` for the images of `archs` and the tools of `tools_hosts`.

    `update`: None keeps locked versions where the recipe still leads to them; `()` takes new
    versions of everything; names take new versions of these packages (and of the packages
    built from the same source, which need one another in the same version). What `previous`
    holds for other architectures and hosts is kept. `accept_unsigned` names the architectures
    whose package index need not match its signature. Archives that services name are in `project`.
    Raises LockError (see `builder.sources.debian`), FetchError, HostError.
    """
    progress = progress or Silent()
    wanted_digest = digest(recipe)
    if previous is not None and previous.suite != recipe.packages.suite:
        previous, update = None, ()
    if (
        update is None
        and previous is not None
        and previous.recipe_digest == wanted_digest
        and _complete(previous, archs, tools_hosts)
        and not any(made.archive for made in recipe.contents().values())  # a file may change
    ):
        return previous
    known = mirrors.from_host(env)
    images = dict(previous.images) if previous else {}
    tools = {group: dict(hosts) for group, hosts in previous.tools.items()} if previous else {}
    everywhere = [arch for arch in ARCHITECTURES if arch in archs or arch in tools_hosts]
    with progress.task("Resolving packages", len(everywhere), "items") as advance:
        for arch in everywhere:
            own = recipe.for_arch(arch)
            unsigned = arch.name in accept_unsigned
            with _index(arch, own.packages.suite, known, unsigned, store, progress) as index:
                if arch in archs:
                    old = images.get(arch.name)
                    k3s = old.k3s if old else None
                    asset = k3s_release.resolve(own, arch, previous=k3s, progress=progress, env=env)
                    pins = container_images.resolve(
                        own, arch, old, update, project=project, store=store, progress=progress
                    )
                    images[arch.name] = _image(index, own, arch, old, update, asset, pins)
                if arch in tools_hosts:
                    _add_tools(tools, index, arch, update)
            advance(1)
    tools = {group: hosts for group, hosts in tools.items() if group in TOOL_GROUPS}
    return Lock(
        recipe_digest=wanted_digest, suite=recipe.packages.suite, images=images, tools=tools
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
    resolved = _groups(index, _image_requests(recipe, arch))
    groups = kept(resolved, old.groups if old else {}, update)
    # What is kept of an unsigned index stays unsigned, unless the signed one says the same.
    doubtful = old is not None and old.unsigned_index and groups != resolved
    return ArchLock(
        groups=groups, k3s=asset, images=pins, unsigned_index=index.unsigned or doubtful
    )


def _add_tools(
    tools: dict[str, dict[str, tuple[Package, ...]]],
    index: debian.Index,
    host: Arch,
    update: Sequence[str] | None,
) -> None:
    locked = {group: hosts.get(host.name, ()) for group, hosts in tools.items()}
    for group, packages in kept(_groups(index, _tool_requests()), locked, update).items():
        tools.setdefault(group, {})[host.name] = packages


@contextlib.contextmanager
def _index(
    arch: Arch, suite: str, known: Mirrors, unsigned: bool, store: Store, progress: Progress
) -> Iterator[debian.Index]:
    with (
        store.work("index") as work,
        debian.open_index(arch, suite, known, accept_unsigned=unsigned, work=work) as index,
    ):
        if index.unsigned:
            progress.note(
                f"{arch.name}: the package index does not match its signature; accepted as asked"
            )
        yield index


def _groups(
    index: debian.Index, requests: Mapping[str, _Request]
) -> dict[str, tuple[Package, ...]]:
    resolved = {g: index.resolve(request.names, request.exclude) for g, request in requests.items()}
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


def _image_requests(recipe: Recipe, arch: Arch) -> dict[str, _Request]:
    exclude = (*EXCLUDED, *recipe.packages.exclude)
    containers = {
        group: _Request(names=made.packages, exclude=(*EXCLUDED, *made.exclude))
        for group, made in recipe.contents().items()
        if made.packages
    }
    if recipe.services:
        exclude_more = (*EXCLUDED, *SERVICES_EXCLUDED)
        containers["services"] = _Request(names=SERVICE_PACKAGES, exclude=exclude_more)
    # The initrd and the containers are composed of single programs: nothing configures them.
    return {
        **containers,
        # What one recipe includes, another that includes it may exclude.
        "root": _Request(
            names=tuple(
                name for name in recipe.packages.include if name not in recipe.packages.exclude
            ),
            exclude=exclude,
        ),
        KERNEL: _Request(names=(recipe.kernel.package or arch.kernel_package,), exclude=EXCLUDED),
        "boot": _Request(names=BOOT_PACKAGES, exclude=EXCLUDED),
        "initrd": _Request(names=INITRD_PACKAGES, exclude=EXCLUDED),
        "containers": _Request(names=CONTAINER_PACKAGES, exclude=EXCLUDED),
    }


def _tool_requests() -> dict[str, _Request]:
    return {
        group: _Request(names=names, exclude=TOOLS_EXCLUDED[group])
        for group, names in TOOL_GROUPS.items()
    }


def _complete(lock: Lock, archs: Sequence[Arch], tools_hosts: Sequence[Arch]) -> bool:
    return all(arch.name in lock.images for arch in archs) and all(
        host.name in lock.tools.get(group, {}) for group in TOOL_GROUPS for host in tools_hosts
    )


def _differences(recipe: Recipe, lock: Lock, arch: Arch) -> Iterator[str]:
    image = lock.images.get(arch.name)
    if image is None:
        yield f"{arch.name} is not locked"
        return
    own = recipe.for_arch(arch)
    if own.packages.suite != lock.suite:
        yield f"the suite is {own.packages.suite}, locked is {lock.suite}"
    for group, request in _image_requests(own, arch).items():
        present = {package.name for package in image.groups.get(group, ())}
        added = sorted(set(request.names) - present) if group != KERNEL else []
        if added:
            yield f"not locked: {', '.join(added)}"
        if unwanted := sorted((set(request.exclude) - set(request.names)) & present):
            yield f"excluded, but locked: {', '.join(unwanted)}"
    for name, reference in _image_facts(own, arch).get("images", {}).items():
        pin = image.images.get(name)
        if pin is None or pin.reference != reference:
            of = f" of {name}" if name != reference else ""
            yield f"not locked: the image {reference}{of}"
    if _k3s_differs(own, arch, image.k3s):
        yield f"K3s is {own.k3s.version} from another place or with another sha256 than locked"


def _image_facts(recipe: Recipe, arch: Arch) -> dict[str, dict[str, str]]:
    """Container images that are taken from elsewhere, by service or reference, if there are any."""
    named = {
        name: made.reference(arch.name) for name, made in container_images.taken(recipe).items()
    }
    return {"images": named} if named else {}


def _k3s_facts(recipe: Recipe, arch: Arch) -> dict[str, str | None] | None:
    """What the recipe says of the K3s release; the sha256 may be left to the release."""
    k3s = recipe.k3s
    pinned = k3s.sha256.get(arch.name)
    if pinned is None and k3s.source != "release":
        return None
    url = k3s_release.asset_url(k3s.url, k3s.version, k3s_release.asset_name(arch))
    return {"version": k3s.version, "url": url, "sha256": pinned}


def _k3s_differs(recipe: Recipe, arch: Arch, locked: K3sAsset | None) -> bool:
    facts = _k3s_facts(recipe, arch)
    if facts is None or locked is None:
        return facts is not None or locked is not None
    return any(value not in (None, getattr(locked, name)) for name, value in facts.items())
