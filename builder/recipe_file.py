"""Reading a recipe file: every error of the file in one run, each with its line.

tomllib and pydantic know what is wrong; this module says where and what may have been meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from builder.arch import ARCHITECTURES
from builder.errors import RecipeError
from builder.recipe import Recipe

MAX_BYTES = 1 << 20
_TABLE = re.compile(r"^\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*(?P<name>[\w\"'.+ -]+?)\s*=")
_SYNTAX = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")

_DEPTH = 8
"""Tables are not nested deeper in any message."""

Location = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe and where it came from; overlay paths are relative to `project`."""

    path: Path
    project: Path
    recipe: Recipe

    @property
    def lock_path(self) -> Path:
        """`recipes/gateway.toml` is locked by `recipes/gateway.lock.toml`."""
        return self.path.with_suffix(".lock.toml")


def load(path: Path) -> RecipeFile:
    """Read and validate a recipe, with the overrides of every architecture.

    Raises RecipeError with one line per error: `file:line: key: what was expected`.
    """
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: an integer of 4300 digits
        raise RecipeError(f"{path}:{_syntax_error(error, text)}") from None
    lines = key_lines(text)
    try:
        recipe = Recipe.model_validate(data)
        for arch in ARCHITECTURES:
            recipe.for_arch(arch)
    except ValidationError as error:
        problems = sorted(_problem(path, lines, item) for item in error.errors())
        count = len(problems)
        head = f"{path} has {count} error{'s' if count > 1 else ''}"
        raise RecipeError(
            "\n".join([head, *(f"  {line}" for _, line in problems)]),
            hint="`edgeimg init --schema` prints the schema; README.md explains each table",
        ) from None
    folder = path.resolve().parent
    project = folder.parent if folder.name == "recipes" else folder
    return RecipeFile(path=path, project=project, recipe=recipe)


def key_lines(text: str) -> dict[Location, int]:
    """The line of every table and key of a TOML text, counted from 1.

    Good enough for messages: a line inside a multi-line string may be taken for a key, which
    never hides a real one because the first line of a key wins.
    """
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _split(match["name"])
            here = table
        elif match := _KEY.match(line):
            here = (*table, *_split(match["name"]))
        else:
            continue
        for depth in range(1, min(len(here), _DEPTH) + 1):
            lines.setdefault(here[:depth], number)
    return lines


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read the recipe {path}: {error.strerror}",
            hint="`edgeimg init` writes a commented one to start from",
        ) from None
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"{path} is larger than {MAX_BYTES >> 20} MiB: not a recipe")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text, which TOML asks for") from None


def _syntax_error(error: Exception, text: str) -> str:
    match = _SYNTAX.match(str(error))
    if match is None:
        return f"1: not TOML: {error or 'nested too deeply'}"
    line = match["line"] or str(max(1, text.count("\n")))
    return f"{line}: not TOML: {match['what']}"


def _split(name: str) -> Location:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def _problem(path: Path, lines: dict[Location, int], item: Any) -> tuple[int, str]:
    # pydantic puts the kind of a JSON value between the keys that lead to it.
    location: Location = tuple(part for part in item["loc"] if part not in ("dict", "list"))[:12]
    if location and location[-1] == "[key]":
        location = location[:-1]
    line = _line(lines, location)
    key = ".".join(str(part) for part in location) or "(top level)"
    return line, f"{path}:{line}: {key}: {_explain(location, item)}"


def _line(lines: dict[Location, int], location: Location) -> int:
    for depth in range(min(len(location), _DEPTH), 0, -1):
        if location[:depth] in lines:
            return lines[location[:depth]]
    return 1


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
