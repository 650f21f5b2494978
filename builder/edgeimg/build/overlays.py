"""Files that the recipe's [overlay] adds to a root: its links, then its directories."""

from __future__ import annotations

from edgeimg.compose import without_k3s
from edgeimg.errors import RecipeError
from edgeimg.provision import ssh_keys
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.k3s import WITHOUT_K3S
from edgeimg.recipe.model import Recipe
from edgeimg.text.toml_text import Location
from edgeimg.tree import Kind, Tree, symlink, union
from edgeimg.tree.overlay import from_directory

AUTHORIZED = "etc/edgeimg/ssh/authorized_keys"
"""Who may log in by the service `ssh`; keys of the settings are added on the gateway."""
_DROPBEAR = "dropbear-bin"


def read(source: RecipeFile, recipe: Recipe) -> Tree:
    """The links of `mask` and `links`, and the files of `paths`, of which later ones win.

    `recipe` is that of `source` for one architecture. Without K3s, its files and units are left
    out of them. Raises RecipeError for a missing directory, and for ssh keys that nobody could log
    in with, ArchiveError for files that no image may hold.
    """
    links = {path: symlink(target) for path, target in recipe.overlay.symlinks.items()}
    trees = [Tree().with_nodes(links)]
    for name in recipe.overlay.paths:
        path = source.locate(name)
        if not path.is_dir():
            raise RecipeError(f"{source.path}: overlay.paths: there is no directory {path}")
        trees.append(from_directory(path, origin=f"overlay:{path.name}"))
    files = union(trees)
    if any(_DROPBEAR in service.packages for service in recipe.services.values()):
        _require_keys(files)
    if recipe.k3s.is_absent:
        part = source.locate(WITHOUT_K3S)
        return without_k3s.adapt(files, from_directory(part, origin=f"overlay:{part.name}"))
    return files


def _require_keys(files: Tree) -> None:
    """Raises RecipeError for a line of authorized_keys that dropbear would skip."""
    node = files.get(AUTHORIZED)
    if node is None or node.kind is not Kind.FILE:
        return
    lines = files.read(AUTHORIZED).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        why = ssh_keys.fault(line.strip())
        if why is None and ssh_keys.canonical(line) != line.rstrip():
            why = "expected one blank between the parts of the key, none in front, and no tabs"
        if why:
            raise RecipeError(f"{node.origin}: {AUTHORIZED}:{number}: {why}")


def places(source: RecipeFile) -> dict[str, tuple[str, int]]:
    """File of the project and line where each link of [overlay] is written, by its path.

    Links that one architecture alone has are not among them.
    """
    table = source.recipe.overlay
    keys: dict[str, Location] = {
        **{path: ("overlay", "mask", at) for at, path in enumerate(table.mask)},
        **{path: ("overlay", "links", path) for path in table.links},
    }
    key_places = {path: source.place(keys[path]) for path in table.symlinks}
    return {path: (source.name_of(place.path), place.line) for path, place in key_places.items()}
