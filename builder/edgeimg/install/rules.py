"""The rules of an unattended installation: which image to which disk, as which gateway."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from edgeimg.errors import ProvisionError
from edgeimg.fleet.columns import SerialNumber
from edgeimg.recipe.types import Size
from edgeimg.text import toml_text, validation
from edgeimg.text.toml_text import Kind, Location, Place, closest
from edgeimg.text.validation import Table

After = Literal["stay", "reboot", "poweroff"]
Sign = Literal["dmi-serial", "mac", "disk-serial"]
SIGNS: tuple[Sign, ...] = ("dmi-serial", "mac", "disk-serial")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%/+-]*)?")
_KIND = Kind(
    name="file of rules",
    error=ProvisionError,
    hint='the page "Install on internal disks" of the documentation describes it',
)


class Disk(Table):
    """Which disk: all conditions must hold, and exactly one disk of the machine must fit them."""

    serial: SerialNumber | None = Field(None, description="its serial number")
    model: str | None = Field(None, min_length=1, description="its model, a glob: 'Samsung SSD *'")
    path: Path | None = Field(None, description="its device: '/dev/nvme0n1', '/dev/disk/by-path/…'")
    min_size: Size | None = Field(None, description="it has at least as many bytes: '16 GiB'")
    max_size: Size | None = Field(None, description="it has at most as many bytes")
    only_internal: bool = Field(
        False, description="the machine has one disk that is not removable, and it is that"
    )
    removable: bool = Field(False, description="it may be removable, such as an SD card")
    erase: bool = Field(False, description="it may hold data, which will be lost")

    @field_validator("path")
    @classmethod
    def _is_a_device(cls, path: Path | None) -> Path | None:
        if path is not None and path.parts[:2] != ("/", "dev"):
            raise ValueError("expected a device: '/dev/nvme0n1'")
        return path

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        names = ("serial", "model", "path", "min_size", "max_size")
        if not self.only_internal and all(getattr(self, name) is None for name in names):
            raise ValueError(f"expected one of {', '.join(names)}, only_internal")
        if self.min_size and self.max_size and self.min_size > self.max_size:
            raise ValueError("min_size is larger than max_size")
        if self.only_internal and self.removable:
            raise ValueError("only_internal and removable contradict each other")
        return self


class Rules(Table):
    """An unattended installation. Paths are relative to the file."""

    image: Path | None = Field(
        None, description="an image, or a directory with the image of this architecture"
    )
    release: str | None = Field(
        None, description="address of a signed release's directory, in place of image: 'https://…'"
    )
    key: Path | None = Field(None, description="public key file: the image must be signed with it")
    disk: Disk
    fleet: Path | None = Field(None, description="file of a fleet (CSV, TOML)")
    defaults: Path | None = Field(None, description="default settings of the fleet (TOML)")
    row: tuple[Sign, ...] = Field(
        SIGNS, min_length=1, description="what finds the row of the fleet that is this machine"
    )
    ledger: Path | None = Field(None, description="ledger of the flashed disks")
    report: str | None = Field(
        None, description="address that the ledger of the machine is stored below: 'https://…'"
    )
    logs: Path | None = Field(None, description="directory for one log per disk")
    countdown: int = Field(30, ge=0, le=3600, description="seconds before the disk is written")
    after: After = Field("stay", description="what the machine does when it is installed")
    again: bool = Field(
        False,
        description="install although the ledger has the same on this disk, or the gateway on "
        "another one",
    )

    @field_validator("release", "report")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is not None and not is_address(address):
            raise ValueError("expected an address without user and query: 'https://host/1.4.2'")
        return address

    @model_validator(mode="after")
    def _has_an_image(self) -> Self:
        if (self.image is None) == (self.release is None):
            raise ValueError("expected either image or release")
        if self.release is not None and self.key is None:
            raise ValueError("release without a key: add the public key that it is signed with")
        return self

    @model_validator(mode="after")
    def _has_a_fleet(self) -> Self:
        names = [name for name in ("defaults", "row") if name in self.model_fields_set]
        if self.fleet is None and names:
            raise ValueError(f"{' and '.join(names)} without a fleet: add it")
        return self


def is_address(text: str) -> bool:
    """Whether `text` may be the address of a release: HTTP or HTTPS, without user or query."""
    return _ADDRESS.fullmatch(text) is not None


def load(path: Path) -> Rules:
    """Read a file of rules (TOML); its paths become absolute.

    Raises ProvisionError that names all errors with their lines.
    """
    data, lines = toml_text.read(path, _KIND)
    places = {location: Place(path=path, line=line) for location, line in lines.items()}

    def place(location: Location) -> Place:
        return closest(places, location, Place(path=path, line=1))

    try:
        rules = Rules.model_validate(data)
    except ValidationError as error:
        problems = validation.problems(error, Rules, place)
        raise ProvisionError(validation.listing(path, problems), hint=_KIND.hint) from None
    folder = path.resolve().parent
    names = ("image", "key", "fleet", "defaults", "ledger", "logs")
    found = {name: folder / value for name in names if (value := getattr(rules, name)) is not None}
    return rules.model_copy(update=found)
