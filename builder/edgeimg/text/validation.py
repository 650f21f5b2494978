"""What pydantic found wrong, in lines for people: where, which key, and what was meant, perhaps."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edgeimg.text.toml_text import Location, Place

HUSHED = "hushed"
"""The type of a pydantic error whose message does not repeat what was found: secrets."""


class Table(BaseModel):
    """A table of a file that people write: unknown keys are errors, and nothing changes later."""

    # Most commands use few of the models: each is built when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def problems(
    error: ValidationError, model: type[BaseModel], place: Callable[[Location], Place]
) -> list[str]:
    """One line per error, `file:line: key: what was expected`, in the order of the places."""
    items = [item for item in error.errors() if not _is_a_consequence(item)]
    return [line for _, line in sorted(_problem(item, model, place) for item in items)]


def listing(name: object, lines: list[str]) -> str:
    """The message of an error that names all problems of a file."""
    head = f"{name} has {len(lines)} error{'s' if len(lines) > 1 else ''}"
    return "\n".join([head, *(f"  {line}" for line in lines)])


def _is_a_consequence(item: ErrorDetails) -> bool:
    """A list is "too short" when its items were wrong, which is reported already."""
    return bool(item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"])


def _problem(
    item: ErrorDetails, model: type[BaseModel], place: Callable[[Location], Place]
) -> tuple[Place, str]:
    # pydantic puts the kind of a JSON value between the keys that lead to it.
    location: Location = tuple(part for part in item["loc"] if part not in ("dict", "list"))[:12]
    if location and location[-1] == "[key]":
        location = location[:-1]
    why = _explain(location, item, model)
    if not location:
        location, why = _named(why, model)
    where = place(location)
    key = ".".join("…" if "@" in str(part) else str(part) for part in location) or "(top level)"
    return where, f"{where}: {key}: {why}"


def _named(why: str, model: type[BaseModel]) -> tuple[Location, str]:
    """The entry of a table that a message about several begins with: `network.lan: …`."""
    path, colon, rest = why.partition(": ")
    table, dot, entry = path.partition(".")
    if colon and dot and table in _keys(model):
        return (table, entry), rest
    return (), why


def _explain(location: Location, item: ErrorDetails, model: type[BaseModel]) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown key" + near(str(location[-1]), _fields_at(location[:-1], model))
        case "literal_error":
            expected = item["ctx"]["expected"]
            guess = near(str(item["input"]), re.findall(r"'([^']*)'", expected))
            return f"expected {expected}{_actual(item['input'])}{guess}"
        case "string_pattern_mismatch":
            return f"{_short(item['input'])} does not match {item['ctx']['pattern']}"
        case "value_error":
            return f"{item['ctx']['error']}{_actual(item['input'])}"
        case "dict_type" | "model_type":
            return f"expected a table of keys and values{_actual(item['input'])}"
        case "missing":
            return "is missing"
        case "tuple_type" | "list_type":
            return f"expected a list, in brackets{_actual(item['input'])}"
        case "string_type":
            return f"expected a text, in quotes{_actual(item['input'])}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"expected a whole number{_actual(item['input'])}"
        case "bool_type" | "bool_parsing":
            return f"expected true or false{_actual(item['input'])}"
        case "too_long":
            return f"expected at most {item['ctx']['max_length']} values"
        case _ if item["type"] == HUSHED:
            return str(item["msg"])
        case _:
            message = item["msg"].removeprefix("Input ").replace("should be", "expected")
            return f"{message}{_actual(item['input'])}"


def near(name: str, names: list[str], *, all_else: bool = True) -> str:
    """The end of a message about an unknown name: the one that was meant, or else all there are."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(names)}" if names and all_else else ""


def _fields_at(location: Location, model: type[BaseModel]) -> list[str]:
    """The keys that the schema knows in the table at `location`."""
    current: object = model
    for part in location:
        current = _inside(current, str(part))
    inner = _model(current)
    return list(_keys(inner)) if inner else []


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _inside(annotation: object, part: str) -> object:
    """What is at `part` of a value: a key of a model, an item of a table or of a list."""
    if model := _model(annotation):
        field = _keys(model).get(part)
        return field.annotation if field else None
    return next((inner for inner in get_args(annotation) if _model(inner)), None)


def _model(annotation: object) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        return next((model for inner in get_args(annotation) if (model := _model(inner))), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _actual(value: object) -> str:
    # Whole tables do not help, and may hold secrets.
    tables = value if isinstance(value, list) else [value]
    is_printable = not any(isinstance(table, dict) for table in tables)
    return f", found {_short(value)}" if is_printable else ""


def _short(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer or a nesting too large to be written out
        return f"{type(value).__name__} of unreasonable size"
    if "@" in text:  # an address with a password in it, perhaps
        return "a value with '@' that is not repeated here"
    return text if len(text) <= 60 else text[:57] + "…"
