"""The values of a lock file: each is what its key expects, else MalformedError names the key."""

from __future__ import annotations

import re

from edgeimg import arch

SHA256 = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/:@+-]*")


class MalformedError(Exception):
    """The error and its key."""


def climbs(path: str) -> bool:
    """Whether a path has parts that lead elsewhere, or empty ones."""
    return not {"", ".", ".."}.isdisjoint(path.split("/"))


def reference(value: str, key: str) -> str:
    """A service, or the name of a container image."""
    if climbs(value):
        raise MalformedError(f"{key}: {value!r} is not a name")
    return text(value, key, _REFERENCE)


def table(
    value: object, key: str, names: re.Pattern[str] | None = None, *, arches: bool = False
) -> dict[str, object]:
    """A table; with `names`, of such keys; with `arches`, of architectures."""
    if not isinstance(value, dict):
        raise MalformedError(f"{key}: expected a table, found {value!r}")
    for name in value:
        if names is not None:
            text(name, f"{key}.{name}", names)
    arch_names = {entry.name for entry in arch.ARCHITECTURES}
    if arches and (unknown := sorted(value.keys() - arch_names)):
        raise MalformedError(f"{key}.{unknown[0]}: no such architecture")
    return value


def keys(table: dict[str, object], key: str, *, required: set[str], optional: set[str]) -> None:
    """Check that a table has all required keys, and no others than these and the optional ones."""
    prefix = f"{key}." if key else ""
    if missing := sorted(required - table.keys()):
        raise MalformedError(f"{prefix}{missing[0]} is missing")
    if unknown := sorted(table.keys() - required - optional):
        raise MalformedError(f"{prefix}{unknown[0]}: unknown key")


def text(value: object, key: str, pattern: re.Pattern[str]) -> str:
    """A text that fits the pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise MalformedError(f"{key}: expected {pattern.pattern}, found {value!r}")
    return value
