"""The steps of a roll-out as people write them: TOML with one `[[group]]` for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from edgeimg.errors import RolloutError
from edgeimg.text import toml_text, validation
from edgeimg.text.toml_text import Kind, Location, Place
from edgeimg.text.validation import Table

GatewayName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Condition = Annotated[
    str, StringConstraints(pattern=r"^attribute\.[A-Za-z0-9]{1,32}==[A-Za-z0-9._:*-]{1,128}$")
]
_KIND = Kind(name="file of steps", error=RolloutError, hint='see "Roll out" in the documentation')


class Group(Table):
    """Gateways that get the version at the same time."""

    name: str = Field(pattern=r"^[A-Za-z0-9 ._-]{1,32}$", description="name of the group")
    gateways: tuple[GatewayName, ...] = Field((), description="gateways by name")
    percent: int | None = Field(
        None, ge=1, le=100, description="per cent of the gateways that earlier groups left"
    )
    success: int | None = Field(
        None,
        ge=1,
        le=100,
        description="per cent of the group that have to succeed before the next group begins; "
        "100 less `failures` by default",
    )
    failures: int = Field(
        0, ge=0, le=99, description="the roll-out pauses when more per cent of the group fail"
    )

    @model_validator(mode="after")
    def _names_its_gateways(self) -> Self:
        if bool(self.gateways) == (self.percent is not None):
            raise ValueError("a group has either gateways or percent")
        if self.needed + self.failures > 100:
            raise ValueError("success and failures are more than 100 together: no group could end")
        return self

    @property
    def needed(self) -> int:
        """Per cent that have to succeed."""
        return 100 - self.failures if self.success is None else self.success


class Steps(Table):
    """All of them, in their order."""

    only: tuple[Condition, ...] = Field(
        (), description="conditions of the gateways, such as 'attribute.site==north'; all hold"
    )
    group: tuple[Group, ...] = Field(min_length=1, description="the groups, in their order")

    @model_validator(mode="after")
    def _reaches_each_gateway_once(self) -> Self:
        names = [one.name for one in self.group]
        if len(set(names)) != len(names):
            raise ValueError("two groups have the same name")
        gateways = [gateway for one in self.group for gateway in one.gateways]
        if len(set(gateways)) != len(gateways):
            raise ValueError("a gateway is in two groups")
        if self.group[-1].percent != 100:
            raise ValueError(
                "the last group needs percent = 100: it takes all gateways that remain"
            )
        return self


def read_steps(path: Path) -> Steps:
    """The steps of a file. Raises RolloutError, which names all errors of the file."""
    data, lines = toml_text.read(path, _KIND)
    places = {location: Place(path=path, line=line) for location, line in lines.items()}

    def place(location: Location) -> Place:
        return toml_text.closest(places, location, Place(path=path, line=1))

    try:
        return Steps.model_validate(data)
    except ValidationError as error:
        found = validation.problems(error, Steps, place)
        raise RolloutError(validation.listing(path, found)) from error
