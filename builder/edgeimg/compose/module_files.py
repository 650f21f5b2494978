"""modules.dep and its relatives, as depmod(8) writes them; read back by kmod and busybox."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeimg.compose import kmod_index
from edgeimg.compose.modinfo import ModInfo

_DEVICE = re.compile(r"(char|block)-major-(\d+)-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Module:
    """One module of the image; `path` is relative to the module directory."""

    name: str
    path: str
    info: ModInfo


def indices(
    modules: Sequence[Module], builtin: Iterable[str], builtin_files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files beside `kernel/`, for modules in the order of their preference."""
    dependencies = _dependencies(modules)
    dep = [(module, " ".join(dependencies[module.name])) for module in modules]
    aliases = [
        (alias, module.name, rank)
        for rank, module in enumerate(modules)
        for alias in module.info.aliases
    ]
    return {
        "modules.dep": _lines(f"{module.path}: {needs}".rstrip() for module, needs in dep),
        "modules.dep.bin": kmod_index.write(
            (module.name, f"{module.path}: {needs}".rstrip(), rank)
            for rank, (module, needs) in enumerate(dep)
        ),
        "modules.alias": _lines(f"alias {alias} {name}" for alias, name, _ in aliases),
        "modules.alias.bin": kmod_index.write(
            (normal_alias(alias), name, rank) for alias, name, rank in aliases
        ),
        "modules.symbols.bin": kmod_index.write(
            (f"symbol:{symbol}", module.name, rank)
            for rank, module in enumerate(modules)
            for symbol in module.info.symbols
        ),
        "modules.softdep": _lines(
            f"softdep {module.name} {text}" for module in modules for text in module.info.softdeps
        ),
        "modules.weakdep": _lines(
            f"weakdep {module.name} {text}" for module in modules for text in module.info.weakdeps
        ),
        "modules.devname": _lines(_devnames(modules)),
        "modules.order": _lines(module.path for module in modules),
        "modules.builtin.bin": kmod_index.write((name, "", 0) for name in builtin),
        "modules.builtin.alias.bin": kmod_index.write(
            _builtin_aliases(builtin_files.get("modules.builtin.modinfo", b""))
        ),
        **builtin_files,
    }


def normal_alias(alias: str) -> str:
    """`-` becomes `_`, except within brackets, as modprobe does before it looks one up."""
    parts = re.split(r"(\[[^\]]*\])", alias)
    return "".join(part if part.startswith("[") else part.replace("-", "_") for part in parts)


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _dependencies(modules: Sequence[Module]) -> dict[str, list[str]]:
    """Paths of all direct and indirect dependencies; the last one is to be loaded first."""
    by_name = {module.name: module for module in modules}

    def visit(name: str, visited: dict[str, None]) -> None:
        for dependency in by_name[name].info.depends:
            if dependency in by_name and dependency not in visited:
                visit(dependency, visited)
                visited[dependency] = None

    result: dict[str, list[str]] = {}
    for module in modules:
        loaded: dict[str, None] = {}
        visit(module.name, loaded)
        result[module.name] = [by_name[name].path for name in reversed(loaded)]
    return result


def _devnames(modules: Sequence[Module]) -> list[str]:
    """Device nodes that exist before their module is loaded: udev makes them at boot."""
    lines = []
    for module in modules:
        names = [a.removeprefix("devname:") for a in module.info.aliases if a.startswith("devname")]
        numbers = [match for a in module.info.aliases if (match := _DEVICE.fullmatch(a))]
        if names and numbers:
            kind, major, minor = numbers[0].groups()
            lines.append(f"{module.name} {names[0]} {kind[0]}{major}:{minor}")
    return lines


def _builtin_aliases(modinfo: bytes) -> list[tuple[str, str, int]]:
    """Aliases from modules.builtin.modinfo: `name.alias=…` entries, separated by NUL."""
    aliases = []
    for entry in modinfo.split(b"\0"):
        field, _, value = entry.decode("utf-8", "replace").partition("=")
        name, _, kind = field.rpartition(".")
        if kind == "alias":
            aliases.append((normal_alias(value), name.replace("-", "_"), 0))
    return aliases
