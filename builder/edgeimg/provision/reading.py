"""Settings from a TOML file or from any table: every error in one run, each with its line.

Secrets that are needed and named by no file are asked for, where somebody can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from edgeimg.errors import ProvisionError
from edgeimg.provision import rendering
from edgeimg.provision.k3s import ALLOWED
from edgeimg.provision.settings import Settings
from edgeimg.provision.value_files import FOLDER
from edgeimg.text import toml_text, validation
from edgeimg.text.toml_text import Kind, Location, Place

HINT = "`edgeimg provision --example` prints a commented example"
_KIND = Kind(name="settings", error=ProvisionError, hint=HINT)
Ask = Callable[[str], str]
"""Asks a person for a secret, by what it is for; raises ProvisionError where nobody is."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where settings were written."""

    name: str
    """Of the file, for messages."""
    folder: Path
    """What paths in them are relative to."""
    place: Callable[[Location], Place]
    """The line of a key, or of the closest table around it."""


class SettingsError(ProvisionError):
    """Settings with errors. `problems` has a line for each: `file:line: key: what was expected`.

    `notes` are lines about the rest of the settings.
    """

    def __init__(self, name: str, problems: list[str], notes: Sequence[str] = ()) -> None:
        more = ["besides", *(f"  {line}" for line in notes)] if notes else []
        super().__init__("\n".join([validation.listing(name, problems), *more]), hint=HINT)
        self.problems = tuple(problems)


def load(path: Path, ask: Ask | None = None, *, allowed: Sequence[str] = ()) -> Settings:
    """The settings in a TOML file. Raises ProvisionError, SettingsError with all that is wrong."""
    data, origin = read(path)
    return parse(data, origin, ask, allowed=allowed)


def read(path: Path) -> tuple[dict[str, object], Origin]:
    """The tables of a TOML file, not checked yet. Raises ProvisionError."""
    data, lines = toml_text.read(path, _KIND)

    def place(location: Location) -> Place:
        return Place(path=path, line=toml_text.closest(lines, location, 1))

    return data, Origin(name=str(path), folder=path.parent, place=place)


def parse(
    data: Mapping[str, object],
    origin: Origin,
    ask: Ask | None = None,
    *,
    allowed: Sequence[str] = (),
) -> Settings:
    """Settings from a table that was read from `origin`.

    `ask` is called for secrets that are needed and missing; without it they are errors. `allowed`
    are the consents of the image's recipe. Raises SettingsError with all that is wrong.
    """
    try:
        settings = _validate(data, origin, allowed)
        missing = tuple(_missing(settings))
        if missing and ask is not None:
            for location, purpose in missing:
                data = _with(data, location, SecretStr(ask(purpose)))
            settings, missing = _validate(data, origin, allowed), ()
    except ValidationError as error:
        problems = validation.problems(error, Settings, origin.place)
        raise SettingsError(origin.name, problems) from None
    if not missing:
        return _as_gateways_take_it(settings, origin)
    places = [(origin.place(location), location) for location, _ in missing]
    raise SettingsError(
        origin.name,
        [
            f"{place}: {'.'.join(map(str, location))}: is missing, and nobody can be asked here: "
            "name a file that holds it"
            for place, location in sorted(places, key=lambda found: found[0])
        ],
    )


def _validate(data: Mapping[str, object], origin: Origin, allowed: Sequence[str]) -> Settings:
    return Settings.model_validate(data, context={FOLDER: origin.folder, ALLOWED: allowed})


def _as_gateways_take_it(settings: Settings, origin: Origin) -> Settings:
    """The settings. Raises SettingsError when a gateway would refuse a file made of them."""
    files = rendering.files(settings)
    reasons = {path: rendering.refused(path, content) for path, content in files.items()}
    problems = [f"{origin.name}: {path}: {why}" for path, why in reasons.items() if why]
    if len(files) > rendering.MOST_FILES:
        problems.append(
            f"{origin.name}: would be {len(files)} files on the gateway, which takes "
            f"{rendering.MOST_FILES} at most: are that many networks and certificates needed?"
        )
    if problems:
        raise SettingsError(origin.name, problems)
    return settings


def _missing(settings: Settings) -> Iterator[tuple[Location, str]]:
    """Secrets that are needed and not given, and what they are for."""
    if settings.k3s and settings.k3s.role == "agent" and settings.k3s.token is None:
        yield ("k3s", "token_file"), f"token of the cluster at {settings.k3s.server}"
    for number, wifi in enumerate(settings.wifi.networks if settings.wifi else ()):
        if wifi.security != "open" and wifi.passphrase is None:
            yield ("wifi", "networks", number, "passphrase_file"), f"passphrase of {wifi.ssid!r}"
    if settings.lte and settings.lte.user and settings.lte.password is None:
        yield ("lte", "password_file"), f"password of {settings.lte.user} at {settings.lte.apn}"
    if settings.proxy and settings.proxy.user and settings.proxy.password is None:
        yield ("proxy", "password_file"), f"password of {settings.proxy.user} at the proxy"
    for name, registry in settings.registries.items():
        if registry.user and registry.password is None:
            yield ("registries", name, "password_file"), f"password of {registry.user} at {name}"


def _with(data: Any, location: Location, value: SecretStr) -> Any:
    """A copy of `data` with `value` at `location`."""
    if not location:
        return value
    first, rest = location[0], location[1:]
    if isinstance(first, int):
        return [_with(item, rest, value) if at == first else item for at, item in enumerate(data)]
    return {**data, first: _with(data.get(first, {}), rest, value)}
