"""The lock's requests of a recipe: packages by purpose, images, K3s' files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from edgeimg.arch import Arch
from edgeimg.errors import LockError
from edgeimg.lock.groups import (
    BOARD,
    BOOT_PACKAGES,
    CONTAINER_PACKAGES,
    EXCLUDED,
    INITRD_PACKAGES,
    MORE_TOOLS,
    SERVICE_PACKAGES,
    SERVICES_EXCLUDED,
    TOOL_GROUPS,
    TOOLS_EXCLUDED,
)
from edgeimg.lock.model import K3sAsset, Lock
from edgeimg.recipe.model import Recipe
from edgeimg.resolve.update import KERNEL
from edgeimg.sources import container_images, k3s_release
from edgeimg.sources.pins import Pins


@dataclass(frozen=True, kw_only=True)
class Request:
    """One resolution: the requested packages, and those treated as installed.

    A board asks for its packages like this, as one more group of `image_requests`:

        Request(
            names=("u-boot-rpi", "raspi-firmware"),
            exclude=EXCLUDED,
            pins=Pins(suites={"u-boot-rpi": "experimental"}, components=("non-free-firmware",)),
        )

    Suite and component are seen by this resolution alone. The recipe's own pins are added to
    every request of an image; where both name a package, the recipe's suite counts.
    """

    names: tuple[str, ...]
    exclude: tuple[str, ...]
    pins: Pins = field(default_factory=Pins)

    @property
    def facts(self) -> list[object]:
        """Its part of a recipe's digest."""
        more = {"suites": dict(self.pins.suites), "components": sorted(self.pins.components)}
        return [sorted(self.names), sorted(self.exclude), *([more] if any(more.values()) else [])]


def digest(recipe: Recipe) -> str:
    """Hex sha256 of everything that the resolution depends on, for all architectures."""
    facts: dict[str, object] = {
        arch.name: {
            "suite": recipe.for_arch(arch).packages.suite,
            "groups": {
                group: request.facts
                for group, request in image_requests(recipe.for_arch(arch), arch).items()
            },
            "k3s": _k3s_facts(recipe.for_arch(arch), arch),
            **_image_facts(recipe.for_arch(arch), arch),
            **_airgap_facts(recipe.for_arch(arch), arch),
            **_kernel_facts(recipe.for_arch(arch), arch),
        }
        for arch in recipe.archs
    }
    facts["tools"] = {group: request.facts for group, request in tool_requests(recipe).items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def verify(recipe: Recipe, lock: Lock) -> None:
    """Raise LockError with the changes when `lock` was not made from this recipe."""
    if lock.recipe_digest == digest(recipe):
        return
    reasons = [reason for arch in recipe.archs for reason in _differences(recipe, lock, arch)]
    text = "; ".join(dict.fromkeys(reasons)) or "packages were removed or exclusions changed"
    raise LockError(f"the lock does not fit the recipe any more: {text}", hint="run `edgeimg lock`")


def image_requests(recipe: Recipe, arch: Arch) -> dict[str, Request]:
    """The packages of one architecture's image, by purpose."""
    exclude = (*EXCLUDED, *recipe.packages.exclude)
    containers = {
        group: Request(names=contents.packages, exclude=(*EXCLUDED, *contents.exclude))
        for group, contents in recipe.contents().items()
        if contents.packages
    }
    if recipe.services:
        exclude_more = (*EXCLUDED, *SERVICES_EXCLUDED)
        containers["services"] = Request(names=SERVICE_PACKAGES, exclude=exclude_more)
    if recipe.board is not None and recipe.board.arch == arch.name and recipe.board.packages:
        containers[BOARD] = Request(
            names=recipe.board.packages,
            exclude=EXCLUDED,
            pins=Pins(suites=recipe.board.pin, components=recipe.board.components),
        )
    blobs = Pins(components=("non-free-firmware",))
    if recipe.firmware.packages:
        containers["firmware"] = Request(
            names=recipe.firmware.packages, exclude=EXCLUDED, pins=blobs
        )
    if recipe.firmware.microcode and arch.microcode_packages:
        containers["microcode"] = Request(
            names=arch.microcode_packages, exclude=(*EXCLUDED, "iucode-tool"), pins=blobs
        )
    # The initrd and the containers are composed of single programs: nothing configures them.
    requests = {
        **containers,
        # A recipe may exclude a package of a recipe that it includes.
        "root": Request(
            names=tuple(
                name for name in recipe.packages.include if name not in recipe.packages.exclude
            ),
            exclude=exclude,
        ),
        "boot": Request(names=BOOT_PACKAGES, exclude=EXCLUDED),
        "initrd": Request(names=INITRD_PACKAGES, exclude=EXCLUDED),
    }
    if not recipe.kernel.is_vendors:
        names = (recipe.kernel.package or arch.kernel_deb,)
        requests[KERNEL] = Request(names=names, exclude=EXCLUDED)
    if not recipe.k3s.is_absent:
        requests["containers"] = Request(names=CONTAINER_PACKAGES, exclude=EXCLUDED)
    packages = recipe.packages
    return {
        group: replace(request, pins=request.pins.with_(packages.pin, packages.components))
        for group, request in requests.items()
    }


def tool_requests(recipe: Recipe) -> dict[str, Request]:
    """The packages of the tools trees, by group."""
    groups = dict(TOOL_GROUPS)
    groups.update({group: MORE_TOOLS[group] for group in recipe.packages.tools})
    return {
        group: Request(names=names, exclude=TOOLS_EXCLUDED[group])
        for group, names in groups.items()
    }


def _differences(recipe: Recipe, lock: Lock, arch: Arch) -> Iterator[str]:
    image = lock.images.get(arch.name)
    if image is None:
        yield f"{arch.name} is not locked"
        return
    variant = recipe.for_arch(arch)
    if variant.packages.suite != lock.suite:
        yield f"the suite is {variant.packages.suite}, locked is {lock.suite}"
    for group, request in image_requests(variant, arch).items():
        present = {package.name for package in image.groups.get(group, ())}
        added = sorted(set(request.names) - present) if group != KERNEL else []
        if added:
            yield f"not locked: {', '.join(added)}"
        for package in image.groups.get(group, ()):
            suite = request.pins.suite(package.name)
            if package.suite != suite and (package.suite or package.name in request.pins.suites):
                yield (
                    f"{package.name} is pinned to {suite or variant.packages.suite}, "
                    "the lock has that of "
                    f"{package.suite or lock.suite}"
                )
        if unwanted := sorted((set(request.exclude) - set(request.names)) & present):
            yield f"excluded, but locked: {', '.join(unwanted)}"
    for name, reference in _image_facts(variant, arch).get("images", {}).items():
        pin = image.images.get(name)
        if pin is None or pin.reference != reference:
            of = f" of {name}" if name != reference else ""
            yield f"not locked: the image {reference}{of}"
    locked = [image.kernel.kind, image.kernel.path] if image.kernel else None
    if locked != (named := _kernel_facts(variant, arch).get("kernel")):
        yield f"the kernel is {named[1] if named else 'the package'} now, another one is locked"
    wanted = variant.k3s.takes_airgap_release
    pinned = variant.k3s.airgap_sha256.get(arch.name)
    if wanted != (image.airgap is not None):
        yield "K3s' air-gap images are not locked" if wanted else "airgap is empty now"
    elif image.airgap is not None and pinned not in (None, image.airgap.sha256):
        yield "K3s' air-gap images have another sha256 than locked"
    if variant.k3s.is_absent and image.k3s is not None:
        yield "the recipe is without K3s now"
    elif _k3s_differs(variant, arch, image.k3s):
        yield f"K3s is {variant.k3s.version} from another place or with another sha256 than locked"


def _image_facts(recipe: Recipe, arch: Arch) -> dict[str, dict[str, str]]:
    """Container images that edgeimg does not compose, by service or reference."""
    references = {
        name: contents.reference(arch.name)
        for name, contents in container_images.contents(recipe).items()
    }
    return {"images": references} if references else {}


def _airgap_facts(recipe: Recipe, arch: Arch) -> dict[str, str]:
    """The archive of K3s' images. The lock does not depend on which of its images are used."""
    if not recipe.k3s.takes_airgap_release:
        return {}
    pinned = recipe.k3s.airgap_sha256.get(arch.name)
    return {"airgap": recipe.k3s.version, **({"airgap_sha256": pinned} if pinned else {})}


def _kernel_facts(recipe: Recipe, arch: Arch) -> dict[str, list[str]]:
    """The vendor's kernel: its key and its path. Its digest is the lock's alone."""
    kernel = recipe.kernel
    kind = "deb" if kernel.deb else "files"
    return {"kernel": [kind, kernel.path(arch.name)]} if kernel.is_vendors else {}


def _k3s_facts(recipe: Recipe, arch: Arch) -> dict[str, str | None] | None:
    """The recipe's settings of the K3s release. The sha256 may come from the release."""
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
