"""Go programs → the modules inside them, out of the build information in the ELF file.

Format: the text of runtime/debug.BuildInfo: tab-separated `path`, `mod`, `dep`, `=>`, `build`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgeimg.sources import go_binary
from edgeimg.sources.go_binary import GoBuild
from edgeimg.tree import Kind, Tree
from edgeimg.tree.node import Content, Span

_ELF = b"\x7fELF"
_OBJECT = 1
_LEAST = 52
_DEVEL = "(devel)"


@dataclass(frozen=True, kw_only=True, order=True)
class Module:
    """One module as it was linked."""

    path: str
    version: str
    """`v1.2.3`; empty for one from a work tree."""
    replaces: str = ""
    """The path that the program imports, when this is a replacement for it."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """The build information of one program."""

    path: str
    """Import path of its main package."""
    main: Module
    """Empty path for a program built outside of a module."""
    go: str
    """Version of the compiler and the standard library: `1.26.2`."""
    modules: tuple[Module, ...]


def find(tree: Tree) -> Iterator[tuple[str, Program]]:
    """The Go programs among the tree's files, with their paths."""
    for path, node in tree.items():
        if node.kind is Kind.FILE and node.size >= _LEAST and path[-3:] != ".ko":
            program = read(node.content)
            if program is not None:
                yield path, program


def read(content: Content) -> Program | None:
    """The build information; None for other files and for Go programs without it."""
    if isinstance(content, bytes):
        build = go_binary.read(content) if _may_be_go(content[:20]) else None
    else:
        build = _read_span(content)
    return parse(build) if build else None


def parse(build: GoBuild) -> Program:
    """The build information's text as values."""
    path, main = "", Module(path="", version="")
    modules: list[Module] = []
    for line in build.text.splitlines():
        kind, *fields = line.split("\t")
        if kind == "path" and fields:
            path = fields[0]
        elif kind == "mod" and len(fields) > 1:
            main = Module(path=fields[0], version=_version(fields[1]))
        elif kind == "dep" and len(fields) > 1:
            modules.append(Module(path=fields[0], version=_version(fields[1])))
        elif kind == "=>" and modules and len(fields) > 1:
            modules[-1] = _replacement(modules[-1], fields[0], _version(fields[1]))
    go = re.sub(r"^(go|devel go)", "", build.go).split()[0]
    return Program(path=path, main=main, go=go, modules=tuple(sorted(modules)))


def _replacement(module: Module, path: str, version: str) -> Module:
    if path.startswith((".", "/")):  # a directory: a changed copy without a version
        return Module(path=module.path, version="")
    original = module.path if path != module.path else ""
    return Module(path=path, version=version, replaces=original)


def _version(text: str) -> str:
    return "" if text == _DEVEL else text


def _read_span(span: Span) -> GoBuild | None:
    with span.opened() as file:
        file.seek(span.offset)
        if not _may_be_go(file.read(min(20, span.size))):
            return None
        return go_binary.read_file(file, span.offset, span.size)


def _may_be_go(header: bytes) -> bool:
    """Whether it is an ELF program or library, and not an object such as a kernel module."""
    if len(header) < 20 or header[:4] != _ELF:
        return False
    kind: int = struct.unpack_from("<H" if header[5] == 1 else ">H", header, 16)[0]
    return kind != _OBJECT
