"""The columns of a fleet's CSV: keys of the settings with dots, and what only a fleet knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field

from edgeimg.provision.addresses import Mac
from edgeimg.provision.settings import Settings
from edgeimg.recipe.types import ArchName
from edgeimg.text.validation import Table, near

_PART = re.compile(r"""("[^"]*"|'[^']*'|[^.]*)(?:\.|$)""")


def _serial_number(text: str) -> str:
    if not (
        1 <= len(text) <= 64 and text.isascii() and text.isprintable() and text == text.strip()
    ):
        raise ValueError("expected a serial number: at most 64 letters, digits and signs (ASCII)")
    return text


SerialNumber = Annotated[str, AfterValidator(_serial_number)]


class Box(Table):
    """What a fleet knows of a gateway besides its settings."""

    disk_serial: SerialNumber | None = Field(
        None, description="serial number of its disk, as `edgeimg devices` prints it"
    )
    mac: Mac | None = Field(None, description="MAC address on its label")
    serial: SerialNumber | None = Field(None, description="serial number of the box, for its label")
    arch: ArchName | None = Field(None, description="only images of this architecture are for it")


OWN = tuple(Box.model_fields)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    location: tuple[str, ...]
    many: bool
    """Its cells hold lists."""
    truth: bool = field(default=False, compare=False)
    """Its cells hold truth values …"""
    words: tuple[str, ...] = field(default=(), compare=False)
    """… or one of these words."""


def resolve(name: str) -> Column | str:
    """The key that a column stands for; or what is wrong with its name."""
    parts = [part.strip("\"'") for part in _PART.findall(name) if part]
    if parts and parts[0] in OWN:
        return Column(location=(parts[0],), many=False) if len(parts) == 1 else "has no keys in it"
    here: object = Settings
    location: list[str] = []
    while parts:
        if model := _model(here):
            known = _keys(model)
            if parts[0] not in known:
                more = OWN if not location else ()
                guess = near(parts[0].lower().replace(" ", "_"), [*known, *more])
                prefix = ".".join([*location, ""])
                return "unknown column" + guess.replace("mean '", f"mean '{prefix}")
            here = known[parts[0]]
            location.append(parts.pop(0))
        elif (inner := _values(here)) is not None:
            # Names in a table of plain values may have dots: labels of Kubernetes do.
            count = 1 if _model(inner) else len(parts)
            location.append(".".join(parts[:count]))
            del parts[:count]
            here = inner
        else:
            return "has no keys in it"
    if _model(here) or _values(here) is not None:
        return f"is a table: name a key in it, such as {name}.NAME"
    items = _items(here)
    if items is not None and _model(items):
        return "is a list of tables: put it into the file of --defaults"
    kinds = [one for one in _choices(here) if one is not NoneType]
    return Column(
        location=tuple(location),
        many=items is not None,
        truth=bool in kinds and str not in kinds and int not in kinds,
        words=_words(here),
    )


def knows(name: str) -> bool:
    """Whether a text is the name of a column, but for a mistake in it."""
    column = resolve(name) if name else ""
    return isinstance(column, Column) or name.partition(".")[0].lower() in (*OWN, *_keys(Settings))


def _words(annotation: object) -> tuple[str, ...]:
    """The words that a value may be, beside other kinds."""
    if get_origin(annotation) is Annotated:
        return _words(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return tuple(word for inner in get_args(annotation) for word in _words(inner))
    return ()


def _keys(model: type[BaseModel]) -> dict[str, object]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model(annotation: object) -> type[BaseModel] | None:
    found = [one for one in _choices(annotation) if isinstance(one, type)]
    return next((one for one in found if issubclass(one, BaseModel)), None)


def _values(annotation: object) -> object:
    """What the values of a table are, when it is one of any names."""
    found = (one for one in _choices(annotation) if get_origin(one) is dict)
    return next((get_args(one)[1] for one in found), None)


def _items(annotation: object) -> object:
    """What the items of a list are, when it is always one."""
    found = [one for one in _choices(annotation) if one is not NoneType]
    always = found and all(get_origin(one) is tuple for one in found)
    return get_args(found[0])[0] if always else None


def _choices(annotation: object) -> tuple[object, ...]:
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(one for inner in get_args(annotation) for one in _choices(inner))
    return () if get_origin(annotation) is Literal else (annotation,)
