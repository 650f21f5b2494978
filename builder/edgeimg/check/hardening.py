"""The hardening of programs: options of compiler and linker.

Only what the file proves: PIE, RELRO, NX and text relocations are in its headers (System V ABI,
GNU extensions). A missing stack protector shows only where a program calls what copies without
looking at lengths, and nothing that would notice an overflow.
"""

from __future__ import annotations

from dataclasses import replace

from edgeimg.check.findings import Finding, finding
from edgeimg.compose import elf_facts
from edgeimg.compose.elf_facts import ElfFacts
from edgeimg.errors import ArchiveError
from edgeimg.services.roots import roots
from edgeimg.tree import Kind, Tree

_SOLID = ("usr/lib", "usr/libexec")
"""Where a search path may lead: of the read-only root, and root's."""
_LOADED = ("ET_EXEC", "ET_DYN")


def check(tree: Tree) -> list[Finding]:
    """All weaknesses of the tree's programs and libraries. Reads headers only."""
    return [
        replace(item, path=f"{base}{item.path}")
        for base, root in roots(tree)
        for item in _root(root)
    ]


def _root(tree: Tree) -> list[Finding]:
    findings: list[Finding] = []
    for path, node in tree.items():
        try:
            facts = elf_facts.read(node)
        except ArchiveError:  # check.elf reports it
            continue
        if facts is not None and facts.type in _LOADED:
            findings += _program(path, facts)
            findings += _search(tree, path, facts)
    return findings


def _program(path: str, facts: ElfFacts) -> list[Finding]:
    findings = []
    if facts.type == "ET_EXEC":
        fix = "build it with -fPIE -pie (Go: -buildmode=pie)"
        findings.append(finding("no-pie", path, "its code is always at the same address", fix))
    if facts.dynamic and not facts.relro:
        fix = "link it with -z relro -z now"
        findings.append(finding("no-relro", path, "its relocations stay writable", fix))
    if facts.executable_stack:
        fix = "link it with -z noexecstack; assembler files need a .note.GNU-stack section"
        findings.append(finding("executable-stack", path, "asks for an executable stack", fix))
    if facts.writable_code:
        fix = "link it without -N and without sections that are both"
        message = "has memory that is writable and executable"
        findings.append(finding("writable-code", path, message, fix))
    if facts.text_relocations:
        fix = "build all of it with -fPIC"
        message = "its code is changed when it is loaded"
        findings.append(finding("text-relocations", path, message, fix))
    if facts.unchecked and not facts.stack_protector:
        fix = "build it with -fstack-protector-strong -D_FORTIFY_SOURCE=2"
        message = f"calls {', '.join(facts.unchecked)} without a stack protector"
        findings.append(finding("no-stack-protector", path, message, fix))
    return findings


def _search(tree: Tree, path: str, facts: ElfFacts) -> list[Finding]:
    origin = tree.resolve(path.rpartition("/")[0])
    for entry in facts.search_path:
        reason = _doubt(tree, entry, origin)
        if reason:
            message = f"looks for libraries in {entry or 'the current directory'}, {reason}"
            fix = "link it without -rpath, or remove the entry (patchelf --remove-rpath)"
            return [finding("search-path", path, message, fix)]
    return []


def _doubt(tree: Tree, entry: str, origin: str) -> str:
    """The problem of one directory of a search path; empty without a problem."""
    place = entry.replace("${ORIGIN}", f"/{origin}").replace("$ORIGIN", f"/{origin}")
    if not place.startswith("/"):
        return "which depends on where it is started"
    real = tree.resolve(place)
    node = tree.get(real)
    if node is None or node.kind is not Kind.DIRECTORY:
        return "which is not in the image"
    if not any(real == solid or real.startswith(f"{solid}/") for solid in _SOLID):
        return "which is no place of the system's libraries"
    if node.uid != 0 or node.mode & 0o022:
        return "which others than root can write to"
    return ""
