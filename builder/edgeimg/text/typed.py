"""JSON values as the classes that describe them."""

from __future__ import annotations

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
