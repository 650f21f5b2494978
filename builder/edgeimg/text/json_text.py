"""Reading JSON that others made, within bounds: bytes, values, depth, and the size of numbers.

Stricter than Python's reader (RFC 8259): UTF-8 only, no NaN, no number beyond 64 bits or a
double, and no half of a surrogate pair, which could not be written again.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from edgeimg.text import bounded

Json = Any
"""A value of a JSON text, whose kind is not known yet."""
JsonObject = dict[str, Any]
"""An object of a JSON text."""
MAX_BYTES = 32 << 20
MAX_VALUES = 1 << 20
"""Values in one document; what is counted is `,`, `[` and `{`, so texts full of commas count."""
MAX_DEPTH = 64
_DIGITS = 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class MalformedError(ValueError):
    """A text is not JSON or out of bounds, with a message for people."""


def read(path: Path, *, limit: int = MAX_BYTES, values: int = MAX_VALUES) -> Json:
    """The value of a regular file. Raises OSError, MalformedError."""
    return parse(bounded.read(path, limit), limit=limit, values=values)


def parse(data: bytes, *, limit: int = MAX_BYTES, values: int = MAX_VALUES) -> Json:
    """The value of a JSON text of at most `limit` bytes.

    Raises MalformedError for what is not JSON or is out of bounds.
    """
    if len(data) > limit:
        raise MalformedError(f"larger than {bounded.size(limit)}")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > values:
        raise MalformedError(f"more than {values} values")
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=_constant)
        _check_depth(value)
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise MalformedError("nested too deeply") from None
    except MemoryError:
        raise MalformedError("too large for the memory of this host") from None
    if _SURROGATE.search(text):
        _check_texts(value)
    return value


def reason(error: Exception) -> str:
    """Why a JSON file cannot be used, after reading it or looking into its values."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MalformedError):
        return str(error)
    if isinstance(error, KeyError) and error.args:
        return f"{str(error.args[0])!r} is missing"
    return "a value is of the wrong kind"


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise MalformedError("a number of unreasonable size")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedError("a number of unreasonable size")
    return value


def _constant(name: str) -> NoReturn:
    raise MalformedError(f"not JSON: {name}")


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _check_texts(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MalformedError("a text with half of a surrogate pair") from None
