"""The table of docs/reference/hardware.md: the probes of tests/data/hardware/probes, compared with
the root of recipes/gateway.toml and with that of the recipe that the printed lines make.
"""

from __future__ import annotations

import lzma
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb, patterns, rootfs
from edgeimg.hardware import drivers, known, lines
from edgeimg.hardware.coverage import Coverage, cover
from edgeimg.hardware.drivers import Root
from edgeimg.hardware.machine import Machine
from edgeimg.lock import file
from edgeimg.recipe.model import Recipe
from edgeimg.sources import deb
from edgeimg.tree import Tree

from tests.hardware_modules import PROJECT, probes, title

ARCH = "x86-64"
HEAD = (
    "| Machine | Devices | Driver | Left out | No module | Gaps | After the lines "
    "| Modules of the lines | Ask for firmware |",
    "|---|--:|--:|--:|--:|--:|--:|---|---|",
)
COST_HEAD = ("| Module | With | Bytes | Bytes with xz |", "|---|---|--:|--:|")


class Images:
    """The lock's kernel, and the roots of recipes with it. No root has firmware."""

    def __init__(self, store: Store) -> None:
        lock = file.read_lock(PROJECT / "recipes/gateway.lock.toml")
        package = lock.images[ARCH].groups["kernel"][0]
        self.store = store
        self.kernel = kernel_deb.from_deb(deb.read_blob(package, blobs=store, store=store))
        self.debian = drivers.of_kernel(self.kernel, store)
        unneeded = (*patterns.excluded_modules(), *known.unneeded())
        self.excluded = kernel_deb.match(self.kernel, unneeded, strict=False)

    @cached_property
    def default(self) -> Tree:
        """The modules of an image whose recipe names none."""
        return rootfs.root_modules(Recipe(), self.kernel, self.store)

    @cached_property
    def _default_root(self) -> Root:
        return drivers.of_tree(self.default, self.kernel.version)

    def cover(self, machine: Machine, recipe: Recipe | None = None) -> Coverage:
        """The coverage by the image of `recipe`, or by the default image."""
        root = self._default_root
        if recipe is not None and recipe.kernel.modules:
            tree = rootfs.root_modules(recipe, self.kernel, self.store)
            root = drivers.of_tree(tree, self.kernel.version)
        return cover(
            machine, root, self.debian, excluded=self.excluded, image="gateway", arch=ARCH
        )  # fmt: skip


def after(images: Images, machine: Machine) -> tuple[Coverage, Coverage]:
    """Before and after the printed lines are in the recipe."""
    before = images.cover(machine)
    recipe = Recipe.model_validate(tomllib.loads("\n".join(lines.recipe_lines(before))))
    return before, images.cover(machine, recipe)


def table(images: Images) -> Iterator[str]:
    """The Markdown table, a line each."""
    yield from HEAD
    for name, machine in probes().items():
        yield _row(title(name), *after(images, machine))


def _row(machine: str, before: Coverage, closed: Coverage) -> str:
    states = Counter(row.state for row in before.rows)
    missing = [row for row in before.rows if row.state == "driver missing"]
    cells = (
        machine,
        len(before.rows),
        states["ok"] + states["firmware missing"],
        states["left out"],
        states["no driver"] + states["unclear"],
        len(missing),
        sum(row.state == "driver missing" for row in closed.rows),
        _code(module for row in missing for module in row.wanted),
        _code(one.module for row in before.gaps for one in row.firmware if one.files),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _code(names: Iterator[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(set(names))) or "–"


def costs(images: Images, names: list[str]) -> Iterator[str]:
    """A Markdown table of what modules add to the default image: bytes of their files and of what
    they depend on, and the same with xz.
    """
    yield from COST_HEAD
    held = {path for path, _ in images.default.items()}
    for name in names:
        recipe = Recipe.model_validate({"kernel": {"modules": [name]}})
        tree = rootfs.root_modules(recipe, images.kernel, images.store)
        added = [path for path, _ in tree.items() if path.endswith(".ko") and path not in held]
        texts = [tree.read(path) for path in added]
        others = _code(
            one for one in map(kernel_deb.name_of, added) if one != name.replace("-", "_")
        )
        packed = sum(len(lzma.compress(text)) for text in texts)
        yield f"| `{name}` | {others} | {sum(map(len, texts)):,} | {packed:,} |"
