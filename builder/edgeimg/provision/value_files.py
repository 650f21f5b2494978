"""Files that settings name: read while settings are validated, so that errors have their line.

context["folder"] is what their paths are relative to. No message repeats what is in a secret one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from edgeimg.text import bounded
from edgeimg.text.toml_text import decode
from edgeimg.text.validation import HUSHED

LIMIT = 65536
"""Bytes of one file, as the gateway takes it."""
FOLDER = "folder"
"""The key of pydantic's context that holds where relative paths start."""


class Given(str):
    """What a file would hold, given in its place."""


def hushed(why: str) -> PydanticCustomError:
    """An error that says `why` and does not repeat the value."""
    return PydanticCustomError(HUSHED, "{why}", {"why": why})


def read(value: object, info: ValidationInfo) -> str:
    """The text of a file that a key names. Raises PydanticCustomError."""
    if isinstance(value, Given):
        return str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise hushed("expected the path of a file")
    folder = Path((info.context or {}).get(FOLDER, "."))
    try:
        path = Path(value).expanduser() if value.startswith("~") else folder / value
        with bounded.opened(path) as file:
            raw = file.read(LIMIT + 1)
    except RuntimeError:
        raise hushed("expected the path of a file, without '~'") from None
    except OSError as error:
        raise hushed(f"the file that it names cannot be read: {error.strerror}") from None
    if len(raw) > LIMIT:
        raise hushed(f"the file that it names is larger than {LIMIT >> 10} KiB")
    try:
        return decode(raw).replace("\r\n", "\n")
    except ValueError as error:
        what = "UTF-16 text: save it as UTF-8" if "UTF-16" in str(error) else "no text (UTF-8)"
        raise hushed(f"the file that it names is {what}") from None


def json_line(value: object, info: ValidationInfo) -> object:
    """A registry's key that is JSON in several lines, as clouds hand it out, in one line."""
    if isinstance(value, SecretStr) or not (text := read(value, info)).lstrip().startswith("{"):
        return value
    try:
        parsed = json.loads(text)
        line = SecretStr(json.dumps(parsed, separators=(",", ":")))
    except (ValueError, RecursionError):
        return value
    if "auths" in parsed:
        raise hushed("the file that it names is Docker's config.json: expected the password alone")
    return line


def _line(value: object, info: ValidationInfo) -> SecretStr:
    """The one line of a secret file; or what somebody has typed, which is no text yet."""
    if isinstance(value, SecretStr):
        return value
    text = read(value, info).rstrip("\n")
    odd = next((char for char in text if not char.isprintable()), "\n")
    if text and odd != "\n":
        raise hushed(
            f"the file that it names has the character U+{ord(odd):04X} in it: expected one line "
            "of text, the secret"
        )
    if not text or "\n" in text:
        raise hushed("the file that it names should hold one line of text, the secret")
    return SecretStr(text)


def secret(
    check: Callable[[str], bool],
    expected: str,
    *,
    before: Callable[[object, ValidationInfo], object] | None = None,
) -> Any:
    """The type of a key that names a file with one line, a secret, which `check` accepts.

    `before` may make one line of what the file holds.
    """

    def checked(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text or not check(text):
            raise hushed(f"expected {expected}")
        return value

    def line(value: object, info: ValidationInfo) -> SecretStr:
        return _line(before(value, info) if before else value, info)

    described = {"type": "string", "description": f"file that holds {expected}"}
    return Annotated[
        SecretStr, BeforeValidator(line), AfterValidator(checked), WithJsonSchema(described)
    ]
