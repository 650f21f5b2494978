"""The recipes, overlays and sources that come with edgeimg, in a checkout and in an installation.

They are package data in `data/`. In a checkout its entries are symbolic links to the directories
of the same names, except `ci`; a wheel holds the files. The stand-in is in checkouts only.

Recipes name them with the prefix `edgeimg:`: `edgeimg:gateway` and `edgeimg:services/wifi` are
recipes, `edgeimg:overlays/base` is a directory of files.
"""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from edgeimg.errors import RecipeError

PREFIX = "edgeimg:"
ROOTS = ("recipes", "overlays")
"""What recipes name, below `directory()`."""
SHOWN = (*ROOTS, "ci")
"""What has names: `ci` has the release pipelines of projects."""


def directory(name: str = "") -> Path:
    """The directory of built-in parts, or one below it: `recipes`, `overlays`, `standin`.

    It need not exist: `standin` does not in an installation.
    """
    data = Path(str(files("edgeimg"))) / "data"
    return data / name if name else data


def find(name: str) -> Path:
    """The file or directory of a built-in part; its name may lack the prefix.

    Raises RecipeError for an unknown name, with the nearest known one.
    """
    bare = name.removeprefix(PREFIX).rstrip("/")
    parts = bare.split("/")
    if not set(parts) & {"", ".", ".."}:
        if (recipe := directory(f"recipes/{bare}.toml")).is_file():
            return recipe
        if parts[0] in SHOWN and (path := directory(bare)).exists():
            return path
    near = difflib.get_close_matches(bare, names(), n=1, cutoff=0.5)
    guess = f"did you mean {PREFIX}{near[0]}?" if near else "`edgeimg show` lists all names"
    raise RecipeError(f"edgeimg has no built-in part {PREFIX}{bare}", hint=guess)


def names() -> list[str]:
    """The names of all built-in recipes and files, sorted, without the prefix."""
    return sorted(name_of(path) for path in _files())


def name_of(path: Path) -> str:
    """The name, without the prefix, of a file or directory below `directory()`."""
    below = path.relative_to(directory()).as_posix()
    if below.startswith("recipes/") and below.endswith(".toml") and ".lock." not in below:
        return below.removeprefix("recipes/").removesuffix(".toml")
    return below


def contains(path: Path) -> bool:
    """Whether `path`, as it is written, is that of a built-in part."""
    return path.is_relative_to(directory())


def locate(name: str, project: Path) -> Path:
    """What a recipe names: a built-in part, or a path in the project. Raises RecipeError."""
    return find(name) if name.startswith(PREFIX) else project / name


def _files() -> list[Path]:
    below = [path for root in SHOWN for path in directory(root).rglob("*")]
    return [path for path in below if path.is_file() or path.is_symlink()]
