"""Which parts of edgeimg a recipe uses, and whether they are those that its lock records."""

from __future__ import annotations

from edgeimg import __version__, builtin
from edgeimg.cache.store import sha256_file
from edgeimg.errors import LockError
from edgeimg.lock.model import BuiltIn, Lock
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.k3s import WITHOUT_K3S
from edgeimg.tree.overlay import from_directory


def parts_of(source: RecipeFile) -> BuiltIn | None:
    """The built-in recipes and files of a recipe, for all its architectures, with their digests.

    None when it names none, and for a built-in recipe: its lock comes with it. Raises RecipeError
    for an unknown name.
    """
    if source.is_built_in:
        return None
    paths = [path for path in source.files if builtin.contains(path)]
    paths += [builtin.find(name) for name in _names(source)]
    if not paths:
        return None
    digests = {
        builtin.PREFIX + builtin.name_of(path): from_directory(path, origin="").digest()
        if path.is_dir()
        else sha256_file(path)
        for path in paths
    }
    return BuiltIn(version=__version__, parts=dict(sorted(digests.items())))


def verify(source: RecipeFile, lock: Lock) -> BuiltIn | None:
    """The built-in parts that the recipe uses. Raises LockError when the lock has other ones."""
    parts = parts_of(source)
    if parts is None:
        return None
    if lock.builtin is None:
        raise LockError(
            f"{source.lock_path} does not record the parts of edgeimg that the recipe uses",
            hint="run `edgeimg lock`",
        )
    current, locked = parts.parts, lock.builtin.parts
    changed = sorted(
        name for name in current.keys() | locked if current.get(name) != locked.get(name)
    )
    if changed:
        raise LockError(
            f"{source.lock_path} was made with parts of edgeimg {lock.builtin.version} that differ "
            f"in this edgeimg {parts.version}: {', '.join(changed)}",
            hint="`edgeimg lock` takes those of this version; `edgeimg lock --update` takes new "
            "packages, too",
        )
    return parts


def _names(source: RecipeFile) -> set[str]:
    """The built-in parts that the recipe names, on any architecture."""
    recipes = {arch.name: source.recipe.for_arch(arch) for arch in source.recipe.archs}
    names = [
        name
        for arch, recipe in recipes.items()
        for name in (
            *recipe.overlay.paths,
            *(workload.manifests for workload in recipe.workloads.values()),
            *(path for content in recipe.contents().values() for path in content.paths(arch)),
        )
    ]
    if any(recipe.k3s.is_absent for recipe in recipes.values()):
        names.append(WITHOUT_K3S)
    return {name for name in names if name.startswith(builtin.PREFIX)}
