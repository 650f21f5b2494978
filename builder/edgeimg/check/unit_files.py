"""Unit files as systemd reads them: the unit, its drop-ins, and what starts with the system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeimg.tree import Kind, Tree

DIRECTORIES = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
"""Earlier ones win (systemd.unit(5))."""
_TRUE = ("1", "yes", "true", "on", "y", "t")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit with its drop-ins merged."""

    name: str
    path: str
    origin: str
    settings: dict[tuple[str, str], list[str]] = field(repr=False)
    """All values by section and key, in order, from the last empty one on, which starts anew."""

    def last(self, key: str, section: str = "Service") -> str:
        """The value of a setting that has one; empty when it is not set."""
        return self.settings.get((section, key), [""])[-1]

    def words(self, key: str, section: str = "Service") -> list[str]:
        """The words of a setting that is a list."""
        return [word for value in self.settings.get((section, key), []) for word in value.split()]

    def flag(self, key: str, *, default: bool = False, section: str = "Service") -> bool:
        """A boolean setting."""
        value = self.last(key, section)
        return value.lower() in _TRUE if value else default


def services(tree: Tree) -> list[Unit]:
    """All services of the image, aliases and masked ones left out."""
    units: dict[str, Unit] = {}
    masked: set[str] = set()
    for directory in DIRECTORIES:
        for path, node in tree.under(directory):
            name = path.removeprefix(f"{directory}/")
            if not name.endswith(".service") or "/" in name or name in units or name in masked:
                continue
            if node.kind is Kind.SYMLINK and tree.resolve(path) == "dev/null":
                masked.add(name)
            elif node.kind is Kind.FILE:
                files = [path, *_drop_ins(tree, name)]
                units[name] = Unit(
                    name=name, path=path, origin=node.origin, settings=_merge(tree, files)
                )
    return [units[name] for name in sorted(units)]


def started(tree: Tree) -> set[str]:
    """Units that others pull in through links: `multi-user.target.wants/x.service`."""
    return {
        path.rpartition("/")[2]
        for directory in DIRECTORIES
        for path, node in tree.under(directory)
        if node.kind is Kind.SYMLINK
        and path.rpartition("/")[0].endswith((".wants", ".requires", ".upholds"))
    }


def _drop_ins(tree: Tree, name: str) -> list[str]:
    """Paths of `NAME.d/*.conf`, of the template's and of all services', in order."""
    template = name.partition("@")[0] + "@.service" if "@" in name else name
    drop_ins: dict[str, str] = {}
    for owner in dict.fromkeys((name, template, "service")):
        for directory in DIRECTORIES:
            for path, node in tree.under(f"{directory}/{owner}.d"):
                if path.endswith(".conf") and node.kind is Kind.FILE:
                    drop_ins.setdefault(path.rpartition("/")[2], path)
    return [drop_ins[base] for base in sorted(drop_ins)]


def _merge(tree: Tree, files: list[str]) -> dict[tuple[str, str], list[str]]:
    settings: dict[tuple[str, str], list[str]] = {}
    for path in files:
        for section, key, value in _lines(tree[path].read().decode("utf-8", "replace")):
            if value:
                settings.setdefault((section, key), []).append(value)
            else:
                settings[section, key] = [""]
    return settings


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    section, pending = "", ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        line, pending = pending + line, ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if equals:
            yield section, key.strip(), value.strip()
