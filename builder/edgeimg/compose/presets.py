"""Units enabled by preset files: `systemctl preset-all`, on a tree (systemd.preset(5)).

An enabled unit gets the links of its [Install] section, below /etc/systemd/system;
they are read from there, or from the overlay's own links in /usr, by systemd.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgeimg.errors import ArchiveError
from edgeimg.tree import Kind, Node, Tree, symlink

_UNITS = ("etc/systemd/system", "usr/lib/systemd/system")
_PRESETS = ("etc/systemd/system-preset", "usr/lib/systemd/system-preset")
_SUFFIX = re.compile(
    r"\.(automount|device|mount|path|scope|service|slice|socket|swap|target|timer)$"
)
_DEPENDENCIES = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}


@dataclass(frozen=True)
class Rule:
    """One line of a preset file."""

    enable: bool
    pattern: str
    instances: tuple[str, ...] = ()


def apply_presets(tree: Tree) -> Tree:
    """The tree with the links of every unit that its presets enable.

    Raises ArchiveError for malformed presets, and for units that presets name (without a glob)
    but the tree does not have.
    """
    rules = read_rules(tree)
    units = _units(tree)
    pending = [name for unit in sorted(units) for name in _enabled(unit, rules)]
    links: dict[str, Node] = {}
    units_done: set[str] = set()
    while pending:
        name = pending.pop()
        if name in units_done:
            continue
        units_done.add(name)
        template = re.sub(r"@[^@.]*\.", "@.", name)
        path = units.get(name) or units.get(template)
        if path is None:
            raise ArchiveError(f"/{_PRESETS[0]}: there is no unit {name} to enable")
        install = _install(tree, path)
        links |= _links(name, f"/{path}", install)
        pending += [unit for unit in install.get("Also", ()) if unit in units]
    return tree.with_nodes({path: node for path, node in links.items() if path not in tree})


def read_rules(tree: Tree) -> list[Rule]:
    """The preset rules in the order in which the first match counts."""
    files = {
        path.rpartition("/")[2]: node
        for directory in reversed(_PRESETS)
        for path, node in tree.under(directory)
        if path.endswith(".preset") and node.kind is Kind.FILE
    }
    rules: list[Rule] = []
    for name in sorted(files):
        for line in files[name].read().decode("utf-8", "replace").splitlines():
            words = line.split()
            if not words or words[0][0] in "#;":
                continue
            if words[0] not in ("enable", "disable", "ignore") or len(words) < 2:
                raise ArchiveError(f"{name}: not a line of systemd.preset(5): {line!r}")
            if words[0] != "ignore":
                rules.append(Rule(words[0] == "enable", words[1], tuple(words[2:])))
    return rules


def _enabled(unit: str, rules: list[Rule]) -> Iterator[str]:
    """The unit's name, or those of a template's instances, when the presets enable it."""
    rule = next((rule for rule in rules if fnmatch.fnmatchcase(unit, rule.pattern)), None)
    if rule is not None and not rule.enable:
        return
    if "@." in unit and rule is not None and rule.instances:
        yield from (unit.replace("@.", f"@{instance}.") for instance in rule.instances)
    else:
        yield unit


def _units(tree: Tree) -> dict[str, str]:
    """Paths of unit files (not of links: those are aliases or masks) by name."""
    units: dict[str, str] = {}
    masked: set[str] = set()
    for directory in _UNITS:
        for path, node in tree.under(directory):
            name = path.removeprefix(f"{directory}/")
            if "/" in name or not _SUFFIX.search(name) or name in masked:
                continue
            if node.kind is Kind.FILE and node.size:
                units.setdefault(name, path)
            else:
                masked.add(name)
    return {name: path for name, path in units.items() if _install(tree, path)}


def _install(tree: Tree, path: str) -> dict[str, list[str]]:
    """The [Install] section of the unit and its drop-ins; an empty value resets a key."""
    name = path.rpartition("/")[2]
    drop_ins = [
        node for d in _UNITS for p, node in tree.under(f"{d}/{name}.d") if p.endswith(".conf")
    ]
    install: dict[str, list[str]] = {}
    for node in (tree[path], *drop_ins):
        section = ""
        text = node.read().decode("utf-8", "replace").replace("\\\n", " ")
        for line in (line.strip() for line in text.splitlines()):
            if line.startswith("["):
                section = line
            elif section == "[Install]" and "=" in line and line[0] not in "#;":
                key, _, value = (part.strip() for part in line.partition("="))
                install[key] = [*install.get(key, []), *value.split()] if value else []
    return {key: values for key, values in install.items() if values}


def _links(name: str, target: str, install: dict[str, list[str]]) -> dict[str, Node]:
    if "@." in name:
        if not install.get("DefaultInstance"):
            return {}
        name = name.replace("@.", f"@{install['DefaultInstance'][0]}.")
    prefix = name.rpartition(".")[0]
    base, _, instance = prefix.partition("@")

    def expand(text: str) -> str:
        values = {"%i": instance, "%n": name, "%N": prefix, "%p": base, "%%": "%"}
        return re.sub(r"%[inNp%]", lambda match: values[match[0]], text)

    node = symlink(target)
    directory = _UNITS[0]
    links = {f"{directory}/{expand(alias)}": node for alias in install.get("Alias", ())}
    for key, folder in _DEPENDENCIES.items():
        for unit in install.get(key, ()):
            links[f"{directory}/{expand(unit)}.{folder}/{name}"] = node
    return links
