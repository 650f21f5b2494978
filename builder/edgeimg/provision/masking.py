"""Settings to be looked at: the same, with stars in the place of every secret."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from edgeimg.provision.settings import Settings

STARS = "********"


def masked(settings: Settings) -> Settings:
    """A copy of settings that renders like them and holds no secret."""
    hidden: Settings = _hide(settings)
    return hidden


def _hide(value: Any) -> Any:
    match value:
        case SecretStr():
            return SecretStr(STARS)
        case BaseModel():
            fields = {name: _hide(getattr(value, name)) for name in type(value).model_fields}
            return value.model_copy(update=fields)
        case tuple():
            return tuple(map(_hide, value))
        case dict():
            return {key: _hide(inner) for key, inner in value.items()}
        case _:
            return value
