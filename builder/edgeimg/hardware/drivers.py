"""The drivers of a kernel package and of a root: what they claim, and the firmware they ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from edgeimg.cache.store import Store, key
from edgeimg.compose import modinfo
from edgeimg.compose.firmware import DIRECTORY, PACKED
from edgeimg.compose.kernel_deb import Kernel, name_of, order
from edgeimg.hardware import aliases
from edgeimg.hardware.aliases import Aliases
from edgeimg.text import typed
from edgeimg.tree import Tree

_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One module of the kernel package; names with underscores."""

    name: str
    path: str
    """Below `kernel/`, without suffix."""
    aliases: tuple[str, ...]
    depends: tuple[str, ...]
    firmware: tuple[str, ...]
    """Files below /usr/lib/firmware that it asks for itself; some are globs."""

    @property
    def family(self) -> str:
        """The directory of its source."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """All modules of one kernel package, in the order in which they are preferred."""

    kernel: str
    modules: dict[str, Driver]
    builtin: frozenset[str]

    @cached_property
    def claims(self) -> Aliases:
        """Which of them claim a device."""
        return Aliases((alias, one.name) for one in self.modules.values() for alias in one.aliases)


@dataclass(frozen=True, kw_only=True)
class Root:
    """What of it is in the root of an image."""

    kernel: str
    """As in `uname -r`."""
    modules: frozenset[str]
    claims: Aliases
    """Of its modules.alias, which is what udev asks."""
    firmware: frozenset[str]
    """Names below /usr/lib/firmware, without `.xz` or `.zst`."""


def of_kernel(kernel: Kernel, store: Store) -> Drivers:
    """The modules of a kernel package; cached, as some 4,000 files are read.

    Raises ArchiveError for a damaged module.
    """

    def make(result: Path) -> None:
        with ThreadPoolExecutor() as pool:
            rows = pool.map(lambda item: _read(kernel, *item), kernel.files.items())
            result.write_text(json.dumps([asdict(row) for row in rows]))

    cached = store.derived(key("drivers", _VERSION, kernel.sha256), make)
    rows = typed.validate(tuple[Driver, ...], json.loads(cached.read_text()))
    found, ranks = {row.name: row for row in rows}, order(kernel)
    ranked = sorted(found, key=lambda name: (ranks.get(name, len(ranks)), name))
    return Drivers(
        kernel=kernel.version,
        modules={name: found[name] for name in ranked},
        builtin=kernel.builtin,
    )


def of_tree(tree: Tree, kernel: str) -> Root:
    """What is in a root, or in the parts of it that have modules and firmware."""
    directory = f"usr/lib/modules/{kernel}"
    listing = tree.get(f"{directory}/modules.alias")
    held = [path for path, _ in tree.under(DIRECTORY)]
    return of_listing(
        kernel,
        listing.read() if listing else b"",
        [path for path, _ in tree.under(directory)],
        [path.removeprefix(f"{DIRECTORY}/") for path in held if tree.resolve(path) in tree],
    )


def of_listing(kernel: str, alias: bytes, modules: Iterable[str], firmware: Iterable[str]) -> Root:
    """A root from its modules.alias, the paths of its modules, and the names of its firmware."""
    names = (name_of(path) for path in modules if path.endswith((".ko", ".ko.xz", ".ko.zst")))
    return Root(
        kernel=kernel,
        modules=frozenset(names),
        claims=Aliases(aliases.parse(alias.decode("utf-8", "replace"))),
        firmware=frozenset(PACKED.sub("", name) for name in firmware),
    )


def _read(kernel: Kernel, name: str, path: str) -> Driver:
    info = modinfo.parse(modinfo.decompress(kernel.modules[path].read(), path), path)
    return Driver(
        name=name,
        path=kernel.paths[name],
        aliases=info.aliases,
        depends=info.depends,
        firmware=info.firmware,
    )
