"""Name and version of the image. Its devices get an identity at the first boot."""

from __future__ import annotations

import re

from edgeimg.arch import Arch
from edgeimg.compose import k3s_config
from edgeimg.recipe import provisioning
from edgeimg.recipe.model import Recipe
from edgeimg.tree import Kind, Node, Tree, file, symlink

_COPIED = {
    "etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf",
    "etc/profile": "usr/share/base-files/profile",
}
"""Files that maintainer scripts copy into place when they are missing."""
OS_RELEASE = "usr/lib/os-release"
SCRIPT_ALLOWED = "usr/share/edgeimg/provision-script"
"""Without this file a gateway takes no script from its config partition."""
CARD = "usr/share/edgeimg/card"
"""Settings that a gateway allows on its config partition: K3s options and the recipe's consents."""


def add_defaults(packages: Tree) -> Tree:
    """The packages' tree with the files that their scripts would have copied into /etc."""
    nodes = {
        target: packages[source]
        for target, source in _COPIED.items()
        if source in packages and target not in packages
    }
    return packages.with_nodes(nodes)


def add_identity(tree: Tree, recipe: Recipe, arch: Arch) -> Tree:
    """The tree with its names (os-release(5), hostname(5), hosts(5)) and K3s' configuration.

    machine-id is empty: each device makes its own (machine-id(5)). Files of overlays win, but
    for os-release, which is completed.
    """
    nodes: dict[str, Node] = {
        "etc/hostname": file(f"{recipe.image.hostname}\n".encode()),
        "etc/hosts": file(_hosts(recipe.image.hostname)),
        "etc/machine-id": file(b"", mode=0o444),
        "etc/mtab": symlink("../proc/self/mounts"),
        "root": Node(kind=Kind.DIRECTORY, mode=0o700, origin="edgeimg"),
    }
    nodes |= k3s_config.nodes(recipe.k3s)
    if provisioning.SCRIPT in recipe.provision.allowed:
        nodes[SCRIPT_ALLOWED] = file(b"")
    nodes[CARD] = file(provisioning.table(recipe.provision.allowed))
    missing = {path: node for path, node in nodes.items() if path not in tree}
    existing = tree.get(OS_RELEASE)
    release = os_release(existing.text(OS_RELEASE) if existing else "", recipe, arch)
    missing[OS_RELEASE] = file(release.encode())
    if "etc/os-release" not in tree:
        missing["etc/os-release"] = symlink("../usr/lib/os-release")
    return tree.with_nodes(missing)


def os_release(text: str, recipe: Recipe, arch: Arch) -> str:
    """Debian's os-release, completed with the image's name, version and architecture."""
    image = recipe.image
    mine = {
        "PRETTY_NAME": f'"{image.id} {image.version} (Debian)"',
        "IMAGE_ID": image.id,
        "IMAGE_VERSION": f'"{image.version}"',
        "ARCHITECTURE": arch.name,
        "VARIANT": '"edge gateway"',
    }
    lines = [line for line in text.splitlines() if re.split("=", line)[0] not in mine]
    return "".join(f"{line}\n" for line in [*lines, *(f"{k}={v}" for k, v in mine.items())])


def _hosts(hostname: str) -> bytes:
    return f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost\n".encode()
