"""Reading a recipe file: every error of it in one run, each with its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edgeimg import builtin
from edgeimg.errors import RecipeError
from edgeimg.recipe.include import read
from edgeimg.recipe.model import Recipe
from edgeimg.text import validation
from edgeimg.text.toml_text import Location, Place


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe and where it came from; overlay paths are relative to `project`."""

    path: Path
    project: Path
    recipe: Recipe
    files: tuple[Path, ...] = ()
    """The recipes that it includes, and itself."""
    place: Callable[[Location], Place] = field(default=lambda _: Place(path=Path(), line=1))
    """Where a key of the recipe, or the table around it, is written."""

    @property
    def lock_path(self) -> Path:
        """`recipes/gateway.toml` is locked by `recipes/gateway.lock.toml`."""
        return self.path.with_suffix(".lock.toml")

    def name_of(self, path: Path) -> str:
        """A file by its path in the project; a built-in one as recipes name it; any other by its
        own name.
        """
        real = path.resolve()
        home = self.project.resolve()
        if real.is_relative_to(home):
            return str(real.relative_to(home))
        return builtin.PREFIX + builtin.name_of(path) if builtin.contains(path) else path.name

    def locate(self, name: str) -> Path:
        """Where something is that the recipe names. Raises RecipeError for unknown built-ins."""
        return builtin.locate(name, self.project)

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of edgeimg's own, read where edgeimg is installed."""
        return builtin.contains(self.path)


def load(path: Path) -> RecipeFile:
    """Read and validate a recipe, with the overrides of every architecture.

    Raises RecipeError with one line per error: `file:line: key: what was expected`.
    """
    document = read(path)
    try:
        recipe = Recipe.model_validate(document.data)
        for arch in recipe.archs:
            recipe.for_arch(arch)
    except ValidationError as error:
        problems = validation.problems(error, Recipe, document.place)
        raise RecipeError(
            validation.listing(path, problems),
            hint="`edgeimg init --schema` prints the schema; README.md explains each table",
        ) from None
    folder = path.resolve().parent
    project = folder.parent if folder.name == "recipes" else folder
    return RecipeFile(
        path=path,
        project=project,
        recipe=recipe,
        files=document.files,
        place=document.place,
    )
