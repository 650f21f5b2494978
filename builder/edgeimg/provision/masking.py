"""Settings to be looked at: the same, with stars in the place of every secret."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, SecretStr

from edgeimg.provision.settings import Settings

STARS = "********"
_Model = TypeVar("_Model", bound=BaseModel)


def masked(settings: Settings) -> Settings:
    """A copy of settings that renders like them and holds no secret."""
    return _copied(settings)


def _copied(model: _Model) -> _Model:
    fields = {name: _hide(getattr(model, name)) for name in type(model).model_fields}
    return model.model_copy(update=fields)


def _hide(value: object) -> object:
    match value:
        case SecretStr():
            return SecretStr(STARS)
        case BaseModel():
            return _copied(value)
        case tuple():
            return tuple(map(_hide, value))
        case dict():
            return {key: _hide(inner) for key, inner in value.items()}
        case _:
            return value
