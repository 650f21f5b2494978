"""/etc/ld.so.cache, as ldconfig(8) of glibc 2.33 and later writes it (glibc-ld.so.cache1.1).

The loader searches the cache first, so a missing entry costs a search through directories on
every start of a program, and libraries outside the default ones would not be found at all.
"""

from __future__ import annotations

import fnmatch
import re
import struct
from dataclasses import dataclass

from edgeimg.arch import Arch
from edgeimg.compose import elf_facts
from edgeimg.tree import Kind, Tree, file, symlink

CACHE = "etc/ld.so.cache"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_MAGIC = b"glibc-ld.so.cache1.1"
_LITTLE_ENDIAN = 2
_GENERATOR = b"edgeimg"
_EXTENSION_MAGIC = 0xEAA42174


@dataclass(frozen=True, kw_only=True)
class Library:
    """One shared library: found under `soname`, at `path`."""

    soname: str
    path: str


def add_cache(tree: Tree, arch: Arch) -> Tree:
    """The tree with ld.so.cache, and with the links from sonames that ldconfig would make."""
    libraries: list[Library] = []
    links = {}
    for directory in directories(tree, arch):
        sonames = _scan(tree, directory, arch)
        real = tree.resolve(directory)
        for soname, name in sonames.items():
            libraries.append(Library(soname=soname, path=f"/{directory}/{soname}"))
            if f"{real}/{soname}" not in tree:
                links[f"{real}/{soname}"] = symlink(name)
    return tree.with_nodes({**links, CACHE: file(encode(libraries, arch))})


def directories(tree: Tree, arch: Arch) -> list[str]:
    """Where libraries are: ld.so.conf in its order, then the default directories; each once."""
    names = [*_configured(tree, "etc/ld.so.conf"), *default_directories(arch)]
    unique: dict[str, str] = {}
    for name in names:
        real = tree.resolve(name)
        if real in tree and tree[real].kind is Kind.DIRECTORY:
            unique.setdefault(real, name)
    return list(unique.values())


def default_directories(arch: Arch) -> tuple[str, ...]:
    """The default directories of the loader (Debian's glibc, multiarch)."""
    return (f"lib/{arch.triplet}", f"usr/lib/{arch.triplet}", "lib", "usr/lib")


def encode(libraries: list[Library], arch: Arch) -> bytes:
    """The cache file of these libraries."""
    ordered = sorted(libraries, key=lambda library: sort_key(library.soname), reverse=True)
    first = _HEADER.size + _ENTRY.size * len(ordered)
    strings, offsets = bytearray(), dict[str, int]()
    for text in (text for library in ordered for text in (library.soname, library.path)):
        if text not in offsets:
            offsets[text] = first + len(strings)
            strings += text.encode() + b"\0"
    entries = b"".join(
        _ENTRY.pack(arch.ld_cache_flags, offsets[library.soname], offsets[library.path], 0, 0)
        for library in ordered
    )
    padding = -(first + len(strings)) % 4
    extension = first + len(strings) + padding
    header = _HEADER.pack(_MAGIC, len(ordered), len(strings), _LITTLE_ENDIAN, extension)
    generator = struct.pack("<IIIIII", _EXTENSION_MAGIC, 1, 0, 0, extension + 24, len(_GENERATOR))
    return header + entries + bytes(strings) + bytes(padding) + generator + _GENERATOR


def sort_key(soname: str) -> tuple[tuple[int, int], ...]:
    """Orders names as the loader's binary search does: digits by their number, after the rest."""
    return tuple(
        (1, int(part)) if part.isdigit() else (0, ord(part))
        for part in re.findall(r"[0-9]+|[^0-9]", soname)
    )


def _configured(tree: Tree, path: str) -> list[str]:
    directories: list[str] = []
    node = tree.get(tree.resolve(path))
    lines = node.read().decode("utf-8", "replace").splitlines() if node else []
    for line in lines:
        text = line.partition("#")[0].strip()
        if text.startswith("include"):
            pattern = text.removeprefix("include").strip().lstrip("/")
            folder = pattern.rpartition("/")[0]
            names = [name for name, _ in tree.under(folder) if fnmatch.fnmatch(name, pattern)]
            directories += [item for name in names for item in _configured(tree, name)]
        elif text:
            directories.append(text.strip("/"))
    return directories


def _scan(tree: Tree, directory: str, arch: Arch) -> dict[str, str]:
    """File names of one directory's libraries by soname; the highest version wins."""
    libraries: dict[str, str] = {}
    real = tree.resolve(directory)
    for path, _ in tree.under(real):
        name = path.removeprefix(f"{real}/")
        if "/" in name or not re.match(r"(lib.*\.so|ld-.*\.so)", name):
            continue
        target = tree.get(tree.resolve(path))
        facts = elf_facts.read(target) if target else None
        if facts is None or facts.machine != arch.elf_machine or not facts.dynamic:
            continue
        soname = facts.soname or name
        best = libraries.get(soname)
        if best is None or sort_key(name) > sort_key(best):
            libraries[soname] = name
    return libraries
