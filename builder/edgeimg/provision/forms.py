"""Types of texts that match a pattern, with what an error says was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from edgeimg.provision.value_files import hushed


def matching(
    pattern: str,
    expected: str,
    *,
    repeated: bool = True,
    also: Callable[[str], bool] = lambda _: True,
) -> Any:
    """The type of a text that matches `pattern` as a whole, and for which `also` holds.

    The schema has the pattern, errors have `expected`. A text that is not `repeated` in errors may
    hold a password, when somebody puts one there.
    """
    form = re.compile(pattern)

    def checked(text: str) -> str:
        if not form.fullmatch(text) or not also(text):
            why = f"expected {expected}"
            raise ValueError(why) if repeated else hushed(why)
        return text

    described = {"type": "string", "pattern": pattern}
    return Annotated[str, AfterValidator(checked), WithJsonSchema(described)]
