"""Hardware coverage: a machine against a recipe, or against a finished image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeimg.arch import Arch, find_arch
from edgeimg.build import debian_packages, kernels
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.compose import dpkg_root, firmware, kernel_deb, patterns, rootfs
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.compose.prune import prune
from edgeimg.hardware import coverage, drivers, known
from edgeimg.hardware.coverage import Coverage
from edgeimg.hardware.drivers import Drivers, Root
from edgeimg.hardware.image import read_root
from edgeimg.hardware.machine import Machine
from edgeimg.inspect.image import open_image
from edgeimg.recipe.file import RecipeFile
from edgeimg.sources.deb import Deb
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree
from edgeimg.ui import Ui


def of_recipe(
    source: RecipeFile, machine: Machine, arch: Arch, *, offline: bool, store: Store, ui: Ui
) -> Coverage:
    """The coverage of `machine` by the image that the recipe makes; nothing is built."""
    plan = plan_build(source, arch, BuildOptions(output=Path(), offline=offline))
    kernel, available, debs = _kernel(plan, store, ui)
    with ui.step(f"{arch.name}: choose modules and firmware"):
        root = _recipe_root(plan, kernel, debs, store)
    return _cover(machine, root, kernel, available, plan.name, arch)


def of_image(
    path: Path,
    source: RecipeFile,
    machine: Machine,
    *,
    toolbox: Toolbox,
    offline: bool,
    store: Store,
    ui: Ui,
) -> Coverage:
    """The coverage of `machine` by the image file `path`; the kernel package is of the lock."""
    with (
        ui.step(f"read {path.name}"),
        store.work("hardware") as work,
        open_image(path, toolbox=toolbox, work=work) as opened,
    ):
        contents = opened.contents(toolbox)
        root = read_root(opened.root, contents.kernel, toolbox)
    arch = find_arch(contents.arch)
    plan = plan_build(source, arch, BuildOptions(output=Path(), offline=offline))
    kernel, available, _ = _kernel(plan, store, ui, groups=())
    return _cover(machine, root, kernel, available, path.name, arch)


def _kernel(
    plan: BuildPlan,
    store: Store,
    ui: Ui,
    groups: Sequence[str] = ("firmware", "root"),
) -> tuple[Kernel, Drivers, dict[str, list[Deb]]]:
    """The kernel, its modules, and the packages of `groups`."""
    with ui.step(f"{plan.arch.name}: get its packages"):
        debs = {name: debian_packages.group(plan, name, store, ui) for name in groups}
        kernel = kernels.read(plan, store, ui)
    with ui.step(f"{plan.arch.name}: read the modules of Linux {kernel.version}"):
        return kernel, drivers.of_kernel(kernel, store), debs


def _recipe_root(plan: BuildPlan, kernel: Kernel, debs: dict[str, list[Deb]], store: Store) -> Root:
    """Modules and firmware as `rootfs.compose` puts them into the root: of packages, recipe and
    overlays.
    """
    packages = prune(dpkg_root.merge(debs["root"]), plan.recipe.packages.prune)
    tree = Tree(dict(packages.under(firmware.DIRECTORY)))
    tree = tree.merge(rootfs.root_modules(plan.recipe, kernel, store))
    tree = tree.merge(firmware.select(plan.recipe.firmware, debs["firmware"], kernel).files)
    return drivers.of_tree(tree.merge(plan.overlay), kernel.version)


def _cover(
    machine: Machine, root: Root, kernel: Kernel, available: Drivers, image: str, arch: Arch
) -> Coverage:
    unneeded = (*patterns.excluded_modules(), *known.unneeded())
    excluded = kernel_deb.match(kernel, unneeded, strict=False)
    return coverage.cover(machine, root, available, excluded=excluded, image=image, arch=arch.name)
