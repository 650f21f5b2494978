"""Checks that the kernel has the options and modules that K3s and the image need.

The list, with reasons, is kernel.toml.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgeimg.check.findings import Finding, finding
from edgeimg.compose import kernel_deb
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.recipe.model import Recipe
from edgeimg.text import typed
from edgeimg.tree import Tree


@dataclass(frozen=True, kw_only=True, order=True)
class Need:
    """One option."""

    option: str
    module: str
    """The module that it makes when it is `m`; empty where it cannot be one."""
    initrd: bool
    reason: str


@dataclass(frozen=True)
class _Group:
    reason: str
    options: tuple[str, ...]
    initrd: bool = False
    k3s: bool = False
    """Only images with K3s need them."""


@dataclass(frozen=True)
class _Needs:
    need: tuple[_Group, ...]
    compression: Mapping[str, str]


def needs(recipe: Recipe) -> list[Need]:
    """The kernel options that an image of this recipe needs."""
    data = typed.data_file(__file__, "kernel", _Needs)
    requirements = []
    for group in data.need:
        if group.k3s and recipe.k3s.is_absent:
            continue
        for entry in group.options:
            option, _, module = entry.partition(" ")
            requirements.append(
                Need(option=option, module=module, initrd=group.initrd, reason=group.reason)
            )
    method = recipe.image.compression.partition(",")[0]
    if method in data.compression:
        option, reason = data.compression[method], f"the root is compressed with {method}"
        requirements.append(Need(option=option, module="", initrd=True, reason=reason))
    return requirements


def check(tree: Tree, recipe: Recipe, kernel: Kernel, initrd: Collection[str]) -> list[Finding]:
    """Missing options and modules; `initrd` are the names of the initrd's modules."""
    config = f"boot/config-{kernel.version}"
    if not kernel.options:
        message = "the kernel comes without its configuration"
        fix = f"use one that has /{config}"
        return [finding("kernel-option", config, message, fix)]
    root = {
        kernel_deb.name_of(path)
        for path, _ in tree.under(kernel.directory)
        if path.endswith((".ko", ".ko.xz", ".ko.zst"))
    }
    findings: dict[tuple[str, str], Finding] = {}
    for need in needs(recipe):
        value = kernel.options.get(need.option, "n")
        if value == "n" or (value == "m" and not need.module):
            lacking = _option(config, need, value, kernel)
        elif value == "m" and need.module not in (set(initrd) if need.initrd else root):
            lacking = _module(kernel, need)
        else:
            continue
        findings.setdefault((lacking.path, lacking.item), lacking)
    return list(findings.values())


def _option(config: str, need: Need, value: str, kernel: Kernel) -> Finding:
    name = f"CONFIG_{need.option}"
    state = "a module, must be built in" if value == "m" else "not set"
    message = f"{name} is {state}; needed for {need.reason}"
    fix = "use another [kernel] package"
    if kernel.vendor:
        fix = f"build {kernel.vendor.path} with {name}=y{' or =m' if need.module else ''}"
    return finding("kernel-option", config, message, fix, item=name)


def _module(kernel: Kernel, need: Need) -> Finding:
    path = kernel.paths.get(need.module, need.module)
    file, place = f"{kernel.directory}/kernel/{path}.ko", "the root"
    fix = f"add it to [kernel] modules, or take it off [kernel] exclude: {need.module!r}"
    if need.initrd:
        file, place = f"initrd/{file}", "the initrd"
        fix = f"add it to [kernel] initrd: {need.module!r}"
    message = f"{need.module} (CONFIG_{need.option}=m) is not in {place}; needed for {need.reason}"
    return finding("kernel-module", file, message, fix)
