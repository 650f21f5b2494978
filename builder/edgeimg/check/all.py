"""All checks of a root file system, and their findings without accepted ones."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable

from edgeimg.arch import Arch
from edgeimg.check import (
    accept,
    containers,
    elf,
    hardening,
    kernel,
    licences,
    modes,
    secrets,
    services,
    sysctl,
    units,
    volumes,
)
from edgeimg.check.containers import Absent
from edgeimg.check.findings import Finding
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.recipe.model import Recipe
from edgeimg.sources.deb import Deb
from edgeimg.tree import Tree
from edgeimg.workloads.layout import IMAGES


def everything(
    root: Tree,
    recipe: Recipe,
    arch: Arch,
    linux: Kernel,
    *,
    initrd: Collection[str],
    absent: Absent,
    packages: Iterable[Deb] = (),
) -> list[Finding]:
    """Every defect of one image that can be seen without starting it, sorted.

    `initrd` are the names of the initrd's kernel modules, `absent` is what of containers is not in
    the root, `packages` are those with files in the image. Sizes are not looked at (size.check),
    nor are open ports (listening.check): both are known later. Each file is read once, and its
    headers once more when it is a program.
    """
    programs = elf.check(root, arch)
    foreign = {item.path for item in programs if item.rule == "architecture"}
    findings = sorted(
        [
            *programs,
            # How a program was hardened for another machine is of no interest to anybody.
            *(item for item in hardening.check(root) if item.path not in foreign),
            *modes.check(root),
            *secrets.check(root),
            *secrets.scan("kernel.cmdline", io.BytesIO("\n".join(recipe.kernel.cmdline).encode())),
            *kernel.check(root, recipe, linux, initrd),
            *sysctl.check(root),
            *units.check(root),
            *services.check(recipe),
            *licences.check(packages),
            *containers.check(absent),
            *volumes.check(absent.volumes, absent.drivers, root, linux),
        ]
    )
    accepted = recipe.check.accept
    # Recipes with K3s, which one without it includes, accept findings of images for pods.
    own = [name for name in accepted if not (recipe.k3s.is_absent and f":{IMAGES}/" in name)]
    return accept.remaining(findings, accepted) + accept.unused(findings, own)
