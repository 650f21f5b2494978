"""Kernel modules that every image gets, and modules that no image gets (modules.toml)."""

from __future__ import annotations

from edgeimg.text import typed


def default_modules() -> tuple[str, ...]:
    """Patterns of the kernel modules that every image gets (see `kernel.select`)."""
    return _flat("include")


def excluded_modules() -> tuple[str, ...]:
    """Patterns of the kernel modules that are left out unless a recipe's tree needs none."""
    return _flat("exclude")


def _flat(section: str) -> tuple[str, ...]:
    groups = typed.data_file(__file__, "modules", dict[str, dict[str, tuple[str, ...]]])[section]
    return tuple(pattern for patterns in groups.values() for pattern in patterns)
