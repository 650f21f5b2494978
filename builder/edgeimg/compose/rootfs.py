"""The root file system, top to bottom."""

from __future__ import annotations

from collections.abc import Sequence

from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.compose import dpkg_root, kernel_deb, patterns
from edgeimg.compose.accounts import add_accounts
from edgeimg.compose.applets import link_applets
from edgeimg.compose.certificates import bundle_certificates
from edgeimg.compose.dpkg import add_database
from edgeimg.compose.identity import add_defaults, add_identity
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.compose.ldcache import add_cache
from edgeimg.compose.presets import apply_presets
from edgeimg.compose.prune import prune
from edgeimg.errors import ArchiveError
from edgeimg.lock.model import Package
from edgeimg.recipe.model import Recipe
from edgeimg.sources.deb import Deb
from edgeimg.tree import Kind, Tree


def compose(
    recipe: Recipe,
    arch: Arch,
    packages: Sequence[tuple[Package, Deb]],
    kernel: Kernel,
    extra: Sequence[Tree],
    store: Store,
) -> Tree:
    """The complete root of one image, from unpacked inputs.

    `extra` are trees on top of the packages (K3s, container images, overlays), later ones win.
    This does the work of maintainer scripts; none of them runs. The kernel and the
    initrd are not in it: they are in the UKI. Raises ArchiveError when its parts contradict each
    other, RecipeError when the recipe names kernel modules that do not exist.
    """
    tree = dpkg_root.merge([deb for _, deb in packages])
    tree = add_defaults(tree)
    tree = prune(tree, recipe.packages.prune)
    tree = bundle_certificates(tree)
    tree = tree.merge(root_modules(recipe, kernel, store))
    for top in extra:
        tree = tree.merge(top)
    tree = link_applets(tree, recipe.packages.prune)
    tree = add_identity(tree, recipe, arch)
    tree = add_accounts(tree)
    tree = apply_presets(tree)
    tree = add_database(
        tree, [*filter(None, [kernel.control]), *(deb.control_text for _, deb in packages)]
    )
    tree = add_cache(tree, arch)
    _require_directories(tree)
    return tree


def _require_directories(tree: Tree) -> None:
    """Raise ArchiveError when a node is below what is not a directory."""
    for path, node in tree.items():
        parent = path.rpartition("/")[0]
        above = tree.get(parent)
        if above is not None and above.kind is not Kind.DIRECTORY:
            raise ArchiveError(
                f"/{path} of {node.origin} is below /{parent} of {above.origin}, which is not a "
                "directory"
            )


def root_modules(recipe: Recipe, kernel: Kernel, store: Store) -> Tree:
    """The kernel modules of the root: edgeimg's default list and the recipe's.

    Modules of the recipe, with their dependencies, override edgeimg's own exclusions.
    """
    unwanted = kernel_deb.match(kernel, recipe.kernel.exclude, strict=True)
    selected = kernel_deb.select(kernel, recipe.kernel.modules, sorted(unwanted), store=store)
    module_names = {
        kernel_deb.name_of(path) for path, _ in selected.items() if path.endswith(".ko")
    }
    dropped = kernel_deb.match(kernel, patterns.excluded_modules(), strict=False) - module_names
    defaults = kernel_deb.match(kernel, patterns.default_modules(), strict=False)
    return kernel_deb.select(
        kernel, sorted(defaults | module_names), sorted(dropped | unwanted), store=store
    )
