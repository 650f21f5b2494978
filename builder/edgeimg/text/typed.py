"""Values of JSON and TOML as the classes that describe them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from edgeimg.text.json_text import MalformedError

_Model = TypeVar("_Model")


def validate(model: type[_Model], data: object) -> _Model:
    """An object of a frozen dataclass from the value of a JSON text; unknown keys are ignored.

    Raises MalformedError, which names the first place that does not fit.
    """
    try:
        return TypeAdapter(model).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise MalformedError(f"{place}: {first['msg']}") from error


def data_file(module: str, name: str, model: type[_Model]) -> _Model:
    """The data file `NAME.toml` beside a module of this package, which its `__file__` names."""
    return validate(model, tomllib.loads(Path(module).with_name(f"{name}.toml").read_text()))
