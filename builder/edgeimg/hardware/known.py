"""The facts of known.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from edgeimg.hardware.drivers import Drivers
from edgeimg.text import typed


@dataclass(frozen=True)
class _Facts:
    unneeded: tuple[str, ...]
    packages: Mapping[str, str]
    companions: Mapping[str, tuple[str, ...]]
    helpers: Mapping[str, Mapping[str, str]]


@cache
def _facts() -> _Facts:
    return typed.data_file(__file__, "known", _Facts)


def unneeded() -> tuple[str, ...]:
    """Patterns of modules for devices that a gateway has no use for (see `kernel.match`)."""
    return _facts().unneeded


def package(name: str) -> str:
    """Debian's package of a firmware file; empty when edgeimg does not know it."""
    table = _facts().packages
    return max(((len(start), table[start]) for start in table if name.startswith(start)),
               default=(0, ""))[1]  # fmt: skip


def companions(modules: Iterable[str]) -> tuple[str, ...]:
    """What the modules load by name while they run."""
    return tuple(one for name in modules for one in _facts().companions.get(name, ()))


def helpers(driver: str, modalias: str, asking: tuple[str, ...]) -> tuple[str, ...]:
    """Of the modules that ask for firmware for `driver`, those that the device needs."""
    table = _facts().helpers.get(driver, {})
    needed = [module for start, module in table.items() if modalias.startswith(start)]
    return tuple(name for name in asking if name in needed) if needed else asking


def network(debian: Drivers, module: str) -> bool:
    """Whether a module drives network cards: a gateway always has a use for these."""
    return debian.modules[module].path.startswith("drivers/net/")
