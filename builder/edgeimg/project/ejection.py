"""A built-in part becomes a file of the project, for who wants to change it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeimg import builtin
from edgeimg.errors import HostError

MINE = "overlays/mine"
"""The overlay that `edgeimg init` makes."""
_SHARED = ("overlays/base/", "overlays/rollout/", "overlays/updates/")


@dataclass(frozen=True, kw_only=True)
class Ejected:
    """What was copied."""

    written: tuple[Path, ...]
    use: str
    """How the project uses it, for people."""


def eject(name: str, project: Path) -> Ejected:
    """Copy a built-in recipe, file or directory into the project.

    Raises RecipeError for an unknown name, HostError when a file is there already: nothing is
    overwritten, and nothing copied then.
    """
    source = builtin.find(name)
    known = builtin.name_of(source)
    target, use = _place(known)
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    pairs = [
        (path, project / target / path.relative_to(source) if path != source else project / target)
        for path in files
    ]
    present = [str(to) for _, to in pairs if to.exists() or to.is_symlink()]
    if present:
        raise HostError(
            f"{present[0]} is there already and is not overwritten",
            hint="move it away to have edgeimg's again",
        )
    for path, to in pairs:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
        if _is_recipe(known):
            to.write_text(_elsewhere(path.read_text(encoding="utf-8")), encoding="utf-8")
    return Ejected(written=tuple(to for _, to in pairs), use=use)


def _is_recipe(name: str) -> bool:
    return builtin.directory(f"recipes/{name}.toml").is_file()


def _elsewhere(recipe: str) -> str:
    """The text of a built-in recipe, with names that lead to edgeimg's parts from any project."""
    roots = "|".join(builtin.ROOTS)
    text = re.sub(rf'"(?=(?:{roots})/)', f'"{builtin.PREFIX}', recipe)
    return re.sub(
        r"^include = .*$",
        lambda line: re.sub(r'"([a-z/-]+)\.toml"', rf'"{builtin.PREFIX}\1"', line[0]),
        text,
        flags=re.MULTILINE,
    )


def _place(name: str) -> tuple[str, str]:
    """Where in the project a part goes, and how it is used there."""
    if _is_recipe(name):
        own = f"{name}.toml"
        return f"recipes/{own}", (
            f'include it in your recipe: "{own}" in place of "{builtin.PREFIX}{name}"'
        )
    if shared := next((root for root in _SHARED if f"{name}/".startswith(root)), None):
        below = f"{name}/".removeprefix(shared).rstrip("/")
        use = f'it is used when [overlay] paths has "{MINE}", after edgeimg\'s own'
        return f"{MINE}/{below}" if below else MINE, use
    if f"{name}/".startswith("ci/"):
        return name, f"call it in the pipeline in place of `edgeimg show {name}`"
    return name, f'name it in the recipe, "{name}" in place of "{builtin.PREFIX}{name}"'
