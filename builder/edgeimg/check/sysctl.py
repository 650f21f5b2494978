"""Kernel parameters: what sysctl.d(5) of the image sets, held against sysctl.toml."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from edgeimg.check.findings import Finding, finding
from edgeimg.text import typed
from edgeimg.tree import Kind, Tree

DIRECTORIES = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")
"""A file hides those of the same name in later ones."""
_UNSET = "usr/lib/sysctl.d"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of a file."""

    name: str
    """With dots; may be a glob."""
    value: str
    path: str
    line: int


@dataclass(frozen=True)
class Parameter:
    """What one kernel parameter should be (sysctl.toml)."""

    name: str
    reason: str
    values: tuple[str, ...] = ()
    """It is one of these, if any."""
    least: int = 0
    """Otherwise it is a number not below."""
    default: str | None = None
    """What the kernel has when nobody sets it, where that is known for sure."""


def check(tree: Tree) -> list[Finding]:
    """Parameters that have another value than expected once the image has started."""
    lines = settings(tree)
    parameters = typed.data_file(__file__, "sysctl", dict[str, tuple[Parameter, ...]])
    return [
        problem
        for parameter in parameters["parameter"]
        if (problem := _judge(parameter, effective(lines, parameter.name)))
    ]


def settings(tree: Tree) -> list[Setting]:
    """All settings of the image, in the order in which they are applied."""
    files: dict[str, str] = {}
    for directory in DIRECTORIES:
        for path, node in tree.under(directory):
            name = path.removeprefix(f"{directory}/")
            if name.endswith(".conf") and "/" not in name and node.kind is not Kind.DIRECTORY:
                files.setdefault(name, path)
    return [setting for name in sorted(files) for setting in _parse(tree, files[name])]


def effective(lines: list[Setting], name: str) -> Setting | None:
    """What a parameter is set to: the last line that names it, else the last glob it fits."""
    exact = [line for line in lines if line.name == name]
    globs = [line for line in lines if "*" in line.name and fnmatch.fnmatchcase(name, line.name)]
    matches = exact or globs
    return matches[-1] if matches else None


def _parse(tree: Tree, path: str) -> list[Setting]:
    node = tree.get(tree.resolve(path))
    if node is None or node.kind is not Kind.FILE:  # a link to /dev/null: masked
        return []
    settings = []
    for number, line in enumerate(node.read().decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("-").replace("/", ".")
        if equals:
            settings.append(Setting(name=name, value=value.strip(), path=path, line=number))
    return settings


def _judge(parameter: Parameter, setting: Setting | None) -> Finding | None:
    name, reason = parameter.name, parameter.reason
    value = setting.value if setting else parameter.default
    if value is not None and _fits(parameter, value):
        return None
    expected = " or ".join(parameter.values) or f"{parameter.least} or more"
    fix = f"set {name} to {expected}"
    if setting:
        message = f"line {setting.line} sets {name} to {value}, expected {expected}: {reason}"
        return finding("sysctl", setting.path, message, fix, item=name, line=setting.line)
    message = f"nothing sets {name}, expected {expected}: {reason}"
    return finding("sysctl", _UNSET, message, fix, item=name)


def _fits(parameter: Parameter, value: str) -> bool:
    if parameter.values:
        return value in parameter.values
    return value.isdigit() and int(value) >= parameter.least
