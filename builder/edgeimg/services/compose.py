"""All services of a recipe → files of the root: bundles, units, users, directories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeimg.arch import Arch
from edgeimg.errors import ArchiveError, RecipeError
from edgeimg.recipe.services import CAPABILITIES, Service
from edgeimg.services import rootfs, seccomp, spec
from edgeimg.services.image import Image
from edgeimg.services.layout import ROOTFS, SERVICES, STATE
from edgeimg.services.units import units
from edgeimg.sources.deb import Deb
from edgeimg.tree import Content, Node, Tree, file, replace, union

USERS = range(59000, 60000)
"""Numbers of services' users: the last of those that Debian Policy 9.2.2 leaves to the system."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The inputs of services."""

    packages: Mapping[str, Sequence[Deb]]
    """By the service's name."""
    images: Mapping[str, Image]
    """Container images, by the service's name."""
    project_files: Mapping[str, Tree]
    """The project's files, by the service's name."""
    init: Content
    """catatonit."""
    seccomp: bytes
    """The default profile, as containers/common has it."""


def compose(services: Mapping[str, Service], arch: Arch, parts: Parts) -> Tree:
    """Everything that the services add to the root of an image; empty without services.

    Raises ArchiveError for packages that contradict each other, or a command that is not there;
    RecipeError when there are more services than user numbers.
    """
    if not services:
        return Tree()
    numbers = users(services)
    trees = [
        _bundle(name, service, numbers[name], arch, parts)
        for name, service in sorted(services.items())
    ]
    return union([*trees, _shared(services, numbers, parts.images)])


def users(services: Mapping[str, Service]) -> dict[str, int]:
    """Each service's user number, drawn from its name: files on the data partition keep theirs."""
    numbers: dict[str, int] = {}
    if len(services) > len(USERS):
        raise RecipeError(f"{len(services)} services, but only {len(USERS)} user numbers")
    for name in sorted(services):
        at = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        while USERS[at % len(USERS)] in numbers.values():
            at += 1
        numbers[name] = USERS[at % len(USERS)]
    return numbers


def require_runtime(root: Tree, services: Mapping[str, Service]) -> None:
    """Raises RecipeError when there are services, but the root has no program that runs them."""
    if services and root.resolve("usr/bin/crun") not in root:
        raise RecipeError(
            "services need crun, which is not in the image", hint='add "crun" to packages.include'
        )


def _bundle(name: str, service: Service, uid: int, arch: Arch, parts: Parts) -> Tree:
    capabilities, image = spec.capabilities(service), parts.images.get(name)
    walls = service.seccomp == "default" and len(capabilities) < len(CAPABILITIES)
    profile = seccomp.profile(parts.seccomp, arch, capabilities) if walls else None
    inside = rootfs.make(
        name,
        service,
        uid,
        arch=arch,
        packages=parts.packages.get(name, ()),
        image=image,
        project_files=parts.project_files.get(name, Tree()),
        init=parts.init,
    )
    config = json.dumps(spec.config(name, service, uid, profile, image), indent=1, sort_keys=True)
    base = f"{SERVICES}/{name}"
    nodes = {f"{base}/{ROOTFS}/{path}": node for path, node in inside.items()}
    nodes[f"{base}/config.json"] = file(f"{config}\n".encode())
    number, _ = spec.user(service, uid, image or Image())
    nodes[f"{base}/user"] = file(f"{number}\n".encode())
    if profile is not None:
        nodes[f"{base}/denied"] = file(_denied(parts.seccomp, arch, capabilities).encode())
    nodes |= {
        f"usr/lib/systemd/system/{unit}": file(text.encode())
        for unit, text in units(name, service).items()
    }
    return Tree().with_nodes({path: _from(name, node) for path, node in nodes.items()})


def _from(name: str, node: Node) -> Node:
    """Of the service, but for the project's files, which bills of materials name one by one."""
    from_project = node.origin.startswith("overlay:")
    return node if from_project else replace(node, origin=f"service:{name}")


def _denied(profile: bytes, arch: Arch, capabilities: Sequence[str]) -> str:
    """Lines `NUMBER NAME CAPABILITY`: system calls that the service lacks a capability for."""
    import system_calls

    table = system_calls.syscalls()
    lines = []
    for name, capability in sorted(seccomp.guarded(profile).items()):
        if capability in capabilities:
            continue
        try:
            lines.append(f"{table.get(name, arch.syscalls)} {name} {capability}\n")
        except (system_calls.NoSuchSystemCall, system_calls.NotSupportedSystemCall):
            continue
    return "".join(lines)


def _shared(
    services: Mapping[str, Service], numbers: Mapping[str, int], images: Mapping[str, Image]
) -> Tree:
    """Accounts, directories on the data partition, and that the units are enabled."""
    users = {name: numbers[name] for name, s in sorted(services.items()) if s.user == "own"}
    owners = {
        name: spec.user(service, numbers[name], images.get(name, Image()))
        for name, service in services.items()
    }
    accounts = [f'u svc-{name} {uid} "service {name}" / -\n' for name, uid in users.items()]
    tmpfiles = [f"d {STATE} 0755 root root -\n"] + [
        f"d {STATE}/{name} 0700 {owners[name][0]} {owners[name][1]} -\n"
        for name, service in sorted(services.items())
        if service.data
    ]
    enabled = [f"enable container-{name}.service\n" for name in sorted(services)]
    texts = {
        "usr/lib/sysusers.d/edgeimg-services.conf": accounts,
        "usr/lib/tmpfiles.d/edgeimg-services.conf": tmpfiles,
        # Before the presets of overlays, which end with "disable *".
        "usr/lib/systemd/system-preset/05-edgeimg-services.preset": enabled,
    }
    return Tree().with_nodes(
        {path: file("".join(lines).encode(), origin="services") for path, lines in texts.items()}
    )


def program(debs: Sequence[Deb], path: str) -> Content:
    """The content of a file of one of the packages. Raises ArchiveError without it."""
    for deb in debs:
        if path in deb.tree:
            return deb.tree[path].content
    raise ArchiveError(f"no /{path} for the services: run `edgeimg lock`")
