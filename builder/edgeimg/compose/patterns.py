"""The data files beside this module: what every image gets and what none does."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any


def default_modules() -> tuple[str, ...]:
    """Patterns of the kernel modules that every image gets (see `kernel.select`)."""
    return _flat(read("modules")["include"])


def excluded_modules() -> tuple[str, ...]:
    """Patterns of the kernel modules that are left out unless a recipe's tree needs none."""
    return _flat(read("modules")["exclude"])


@lru_cache
def read(name: str) -> dict[str, Any]:
    """The data file `NAME.toml`."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text())


def _flat(groups: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(pattern for patterns in groups.values() for pattern in patterns)
