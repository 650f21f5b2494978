"""Every program and library of a tree: built for its architecture, and able to start.

ELF (System V ABI) with the supplements of each architecture; for ARM, EABI5 with VFP arguments
("hard float", ELF for the Arm Architecture).
"""

from __future__ import annotations

from dataclasses import replace

from edgeimg.arch import Arch
from edgeimg.check.findings import Finding, finding
from edgeimg.compose import elf_facts, ldcache
from edgeimg.compose.elf_facts import (
    EF_ARM_ABI_FLOAT_HARD,
    EF_ARM_EABI_MASK,
    EF_ARM_EABI_VER5,
    ElfFacts,
)
from edgeimg.errors import ArchiveError
from edgeimg.services.roots import roots
from edgeimg.tree import Kind, Tree

_MODULES = ("usr/lib/modules/",)
_ANYWHERE = ("EM_BPF",)
"""Machines that a kernel of any architecture runs."""


def check(tree: Tree, arch: Arch) -> list[Finding]:
    """All defects of the tree's ELF files, sorted. Reads headers and dynamic sections only.

    Programs of a service's container see only that container.
    """
    return sorted(
        replace(item, path=f"{base}{item.path}")
        for base, root in roots(tree)
        for item in _root(root, arch)
    )


def _root(tree: Tree, arch: Arch) -> list[Finding]:
    findings: list[Finding] = []
    libraries = _library_directories(tree, arch)
    for path, node in tree.items():
        try:
            facts = elf_facts.read(node)
        except ArchiveError as error:
            fix = "rebuild it or leave it out"
            findings.append(finding("damaged-program", path, error.message, fix))
            continue
        if facts is None or facts.machine in _ANYWHERE:
            continue
        foreign = _foreign(path, facts, arch)
        if foreign:
            findings += foreign
        elif facts.type != "ET_REL":
            findings += _unstartable(tree, path, facts, libraries)
    return findings


def _foreign(path: str, facts: ElfFacts, arch: Arch) -> list[Finding]:
    """Class, byte order, machine and float ABI."""
    names = dict.fromkeys((arch.name, arch.debian, arch.goarch))
    fix = f"use the build for {' or '.join(names)}"
    if (facts.machine, facts.bits, facts.little) != (arch.elf_machine, arch.elf_class, True):
        order = "little" if facts.little else "big"
        built = f"built for {facts.machine.removeprefix('EM_')}, {facts.bits} bits, {order}-endian"
        expected = f"expected {arch.elf_machine.removeprefix('EM_')}, {arch.elf_class} bits"
        return [finding("architecture", path, f"{built}; {expected}", fix)]
    if not arch.elf_hard_float or path.startswith(_MODULES):
        return []
    if facts.flags & EF_ARM_EABI_MASK != EF_ARM_EABI_VER5:
        return [finding("abi", path, "not built for the ARM EABI, version 5", fix)]
    # A static program calls no library: compilers such as Go's may leave the flag out.
    if facts.dynamic and not facts.flags & EF_ARM_ABI_FLOAT_HARD:
        message = "built for soft float; the image's libraries are hard float"
        return [finding("abi", path, message, fix)]
    return []


def _unstartable(
    tree: Tree, path: str, facts: ElfFacts, libraries: dict[str, str]
) -> list[Finding]:
    """A missing interpreter and missing libraries."""
    findings: list[Finding] = []
    if facts.interpreter and tree.resolve(facts.interpreter) not in tree:
        message = f"its interpreter {facts.interpreter} is not in the image"
        fix = "add the package of its C library, or link it statically"
        findings.append(finding("interpreter", path, message, fix))
    for name in facts.needed:
        if name not in libraries and not _beside(tree, path, name, facts):
            message = f"needs {name}, which is not in the image"
            fix = f"add the package that has {name}, or leave this out"
            findings.append(finding("library", path, message, fix, item=name))
    return findings


def _beside(tree: Tree, path: str, name: str, facts: ElfFacts) -> bool:
    """Whether the file's own search path, or a path in place of a name, leads to the library.

    A private library may need its neighbours without saying where they are: the program that
    loads it has loaded them.
    """
    if "/" in name:
        return tree.resolve(name) in tree
    origin = f"/{tree.resolve(path.rpartition('/')[0])}"
    places = [
        place.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for place in facts.search
    ]
    if facts.interpreter is None:
        places.append(origin)
    return any(tree.resolve(f"{place}/{name}") in tree for place in places)


def _library_directories(tree: Tree, arch: Arch) -> dict[str, str]:
    """All libraries in the default directories of the loader, by file name."""
    paths: dict[str, str] = {}
    for directory in ldcache.directories(tree, arch):
        real = tree.resolve(directory)
        for path, node in tree.under(real):
            name = path.removeprefix(f"{real}/")
            if "/" not in name and node.kind is not Kind.DIRECTORY and tree.resolve(path) in tree:
                paths.setdefault(name, path)
    return paths
