"""Reading a recipe file: every error of it in one run, each with its line.

pydantic knows what is wrong; this module says what may have been meant.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from builder.errors import RecipeError
from builder.recipe import Recipe
from builder.recipe_include import Document, Location, Place, read


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe and where it came from; overlay paths are relative to `project`."""

    path: Path
    project: Path
    recipe: Recipe
    files: tuple[Path, ...] = ()
    """The recipes that it includes, and itself."""

    @property
    def lock_path(self) -> Path:
        """`recipes/gateway.toml` is locked by `recipes/gateway.lock.toml`."""
        return self.path.with_suffix(".lock.toml")

    def name_of(self, path: Path) -> str:
        """A file by its path in the project; one from elsewhere by its name."""
        real = path.resolve()
        home = self.project.resolve()
        return str(real.relative_to(home)) if real.is_relative_to(home) else path.name


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
        problems = sorted(_problem(document, item) for item in error.errors())
        count = len(problems)
        head = f"{path} has {count} error{'s' if count > 1 else ''}"
        raise RecipeError(
            "\n".join([head, *(f"  {line}" for _, line in problems)]),
            hint="`edgeimg init --schema` prints the schema; README.md explains each table",
        ) from None
    folder = path.resolve().parent
    project = folder.parent if folder.name == "recipes" else folder
    return RecipeFile(path=path, project=project, recipe=recipe, files=document.files)


def _problem(document: Document, item: Any) -> tuple[Place, str]:
    # pydantic puts the kind of a JSON value between the keys that lead to it.
    location: Location = tuple(part for part in item["loc"] if part not in ("dict", "list"))[:12]
    if location and location[-1] == "[key]":
        location = location[:-1]
    place = document.place(location)
    key = ".".join(str(part) for part in location) or "(top level)"
    return place, f"{place}: {key}: {_explain(location, item)}"


def _explain(location: Location, item: Any) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown key" + _near(str(location[-1]), _fields_at(location[:-1]))
        case "literal_error":
            expected = item["ctx"]["expected"]
            near = _near(str(item["input"]), re.findall(r"'([^']*)'", expected))
            return f"expected {expected}, found {_short(item['input'])}{near}"
        case "string_pattern_mismatch":
            return f"{_short(item['input'])} does not match {item['ctx']['pattern']}"
        case "value_error":
            return f"{item['ctx']['error']}, found {_short(item['input'])}"
        case _:
            what = item["msg"].removeprefix("Input ").replace("should be", "expected")
            return f"{what}, found {_short(item['input'])}"


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(known)}" if known else ""


def _fields_at(location: Location) -> list[str]:
    """The keys that the schema knows in the table at `location`."""
    here: Any = Recipe
    parts = list(location)
    if len(parts) >= 2 and parts[0] == "arch":
        parts = parts[2:]
        if not parts:
            return [name for name in Recipe.model_fields if name != "arch"]
    for part in parts:
        here = _inside(here, str(part))
    model = _model(here)
    return list(model.model_fields) if model else []


def _inside(annotation: Any, part: str) -> Any:
    """What is at `part` of a value: a key of a model, an item of a table or of a list."""
    if model := _model(annotation):
        field = model.model_fields.get(part)
        return field.annotation if field else None
    return next((inner for inner in get_args(annotation) if _model(inner)), None)


def _model(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        return next((model for inner in get_args(annotation) if (model := _model(inner))), None)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer or a nesting too large to be written out
        return f"{type(value).__name__} of unreasonable size"
    return text if len(text) <= 60 else text[:57] + "…"
