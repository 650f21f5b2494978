"""A fleet file → its gateways: every error of every row in one run, each with line and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr, ValidationError

from edgeimg.errors import ProvisionError
from edgeimg.fleet import csv_rows, sanity, toml_rows
from edgeimg.fleet.columns import OWN, Box
from edgeimg.fleet.rollout_tokens import RolloutTokens
from edgeimg.fleet.rows import Row, Rows, value_at, with_value
from edgeimg.provision import reading, rendering
from edgeimg.provision.reading import Ask, Origin, SettingsError
from edgeimg.provision.settings import Settings
from edgeimg.text import validation

_HINT = 'the page "Fleets" of the documentation describes fleet files'
_TOKENS = (
    "name one with k3s.token_file, have one made with --generate-token, or be there to be asked"
)
_TOKEN = ("k3s", "token_file")
_ROLLOUT = ("rollout", "token_file")
_REGISTER = "`edgeimg fleet register` makes the tokens of a fleet at the roll-out server"
_SETTINGS = tuple(field.alias or name for name, field in Settings.model_fields.items())
TOKEN = "token of the cluster"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One gateway of a fleet."""

    name: str
    """Its host name."""
    box: Box
    settings: Settings = field(repr=False)
    own_rollout_token: bool = False
    """Its row names its token at the roll-out server."""

    @property
    def mac(self) -> str:
        """For its label: what the row says, or its only card's; empty when neither is known."""
        cards = [one.mac for one in self.settings.network.values() if one.mac]
        return (self.box.mac or (cards[0] if len(cards) == 1 else "")).lower()

    def files(self) -> dict[str, bytes]:
        """For its config partition; secrets are among them."""
        return rendering.files(self.settings)

    def digest(self) -> str:
        """SHA-256 of its settings, with stars in the place of secrets: nothing to be guessed."""
        document = self.settings.model_dump(mode="json")
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The gateways of a file, in its order."""

    path: Path
    gateways: tuple[Gateway, ...]

    def named(self, names: tuple[str, ...]) -> Fleet:
        """Only these, or all where none are named. Raises ProvisionError for unknown names."""
        known = [gateway.name for gateway in self.gateways]
        if unknown := [name for name in names if name not in known]:
            raise ProvisionError(
                f"{self.path} has no gateway {unknown[0]}" + validation.near(unknown[0], known)
            )
        chosen = (one for one in self.gateways if not names or one.name in names)
        return Fleet(path=self.path, gateways=tuple(chosen))


def load(
    path: Path,
    *,
    defaults: Path | None = None,
    token: SecretStr | None = None,
    ask: Ask | None = None,
    allowed: Sequence[str] = (),
    rollout: RolloutTokens | None = None,
) -> Fleet:
    """Read and check a fleet file (`.csv` or `.toml`).

    `defaults` is a file of settings that hold where a row says nothing else. `token` is given to
    all members of clusters for which no token is named; without it and where one is needed, `ask`
    is called, once for each secret. `allowed` are the consents of the image's recipe. `rollout` has
    tokens at the roll-out server. Raises ProvisionError that names all that is wrong.
    """
    raw = _rows(path, defaults)
    rows = sanity.joined([row.over(raw.defaults) for row in raw.rows])
    problems = list(raw.problems)
    if not rows and not problems:
        problems.append(f"{path}:1: there is no gateway in it")
    problems += sanity.duplicates(rows)
    problems += [
        f"{row.start}: k3s.server: is missing, and the file does not have exactly one server with "
        "a fixed address"
        for row in sanity.lonely(rows)
    ]
    remembered = _Remembering(ask)
    rows = _with_token(rows, token, remembered if ask else None)
    gateways: list[tuple[Row, Gateway]] = []
    for row in rows:
        full = _with_rollout_token(row, rollout or RolloutTokens())
        try:
            gateway = _gateway(path, full, remembered if ask else None, allowed)
        except SettingsError as error:
            problems += error.problems
        else:
            own = value_at(row.data, _ROLLOUT) is not None
            gateways.append((row, replace(gateway, own_rollout_token=own)))
    problems += sanity.shared_tokens(
        [(row, one.settings) for row, one in gateways if one.own_rollout_token]
    )
    problems += sanity.shared_keys([(row, one.settings) for row, one in gateways])
    problems += sanity.clusters([(row, one.name, one.settings) for row, one in gateways])
    if problems:
        # What is wrong with a default is wrong once, however many gateways have it.
        lines = sorted(dict.fromkeys(problems), key=_by_line)
        hints = {"k3s.token_file: is missing": _TOKENS, "rollout.token_file: is missing": _REGISTER}
        fitting = (hint for what, hint in hints.items() if any(what in one for one in lines))
        raise ProvisionError(validation.listing(path, lines), hint=next(fitting, _HINT))
    return Fleet(path=path, gateways=tuple(gateway for _, gateway in gateways))


def _rows(path: Path, defaults: Path | None) -> Rows:
    match path.suffix.lower():
        case ".toml":
            raw = toml_rows.read(path)
        case ".csv":
            raw = csv_rows.read(path)
        case _:
            raise ProvisionError(f"{path} is neither .csv nor .toml", hint=_HINT)
    if defaults is None:
        return raw
    if raw.defaults.data:
        raise ProvisionError(f"{path} has [defaults]: --defaults would be a second one")
    return Rows(rows=raw.rows, defaults=toml_rows.defaults(defaults), problems=raw.problems)


def _gateway(path: Path, row: Row, ask: Ask | None, allowed: Sequence[str]) -> Gateway:
    own = {key: value for key, value in row.data.items() if key in OWN}
    rest = {key: value for key, value in row.data.items() if key in _SETTINGS}
    problems = [
        f"{row.place((key,))}: {key}: unknown key" + validation.near(key, [*_SETTINGS, *OWN])
        for key in row.data
        if key not in (*_SETTINGS, *OWN)
    ]
    try:
        box = Box.model_validate(own)
    except ValidationError as error:
        problems += validation.problems(error, Box, row.place)
    if "hostname" not in rest:
        problems.append(f"{row.start}: hostname: is missing")
    if sanity.lonely([row]):  # told already, with what a fleet can do about it
        rest = with_value(rest, sanity.SERVER, "https://nowhere")
    try:
        origin = Origin(name=str(path), folder=Path(), place=row.place)
        settings = reading.parse(rest, origin, ask, allowed=allowed)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(str(path), problems)
    return Gateway(name=settings.hostname or "", box=box, settings=settings)


def _with_token(rows: list[Row], token: SecretStr | None, ask: Ask | None) -> list[Row]:
    """The members of clusters, each with the token."""
    lacking = [
        row for row in rows
        if value_at(row.data, ("k3s", "role")) and value_at(row.data, _TOKEN) is None
    ]  # fmt: skip
    if token is None and ask and any(sanity.role(row) == "agent" for row in lacking):
        token = SecretStr(ask(TOKEN))
    if token is None:
        return rows
    return [
        Row(data=with_value(row.data, _TOKEN, token), places=row.places, start=row.start)
        if row in lacking else row
        for row in rows
    ]  # fmt: skip


def _with_rollout_token(row: Row, tokens: RolloutTokens) -> Row:
    """The row with its gateway's token at the roll-out server, unless it names one."""
    if not isinstance(row.data.get("rollout", {}), dict):
        return row  # refused later
    if value_at(row.data, _ROLLOUT) is not None:
        return row
    token = tokens.by_name.get(str(row.data.get("hostname")))
    if token is None and value_at(row.data, _ROLLOUT[:1]) is not None:
        token = tokens.placeholder
    if token is None:
        return row
    return Row(data=with_value(row.data, _ROLLOUT, token), places=row.places, start=row.start)


class _Remembering:
    """Asks for each secret once, however many gateways need it."""

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self._answers: dict[str, str] = {}

    def __call__(self, purpose: str) -> str:
        if purpose not in self._answers and self._ask:
            self._answers[purpose] = self._ask(purpose)
        return self._answers[purpose]


def _by_line(problem: str) -> tuple[str, int, str]:
    path, _, rest = problem.partition(":")
    line = rest.partition(":")[0]
    return path, int(line) if line.isdecimal() else 0, rest


def summary(fleet: Fleet) -> list[dict[str, str]]:
    """What a fleet consists of, without secrets, a table's row for each gateway."""
    found = []
    for gateway in fleet.gateways:
        k3s = gateway.settings.k3s
        addresses = [a for one in gateway.settings.network.values() for a in one.addresses]
        found.append(
            {
                "name": gateway.name,
                "role": (k3s.role or "") if k3s else "",
                "server": (k3s.server or "") if k3s else "",
                "addresses": ", ".join(addresses),
                "disk_serial": gateway.box.disk_serial or "",
                "mac": gateway.mac,
                "serial": gateway.box.serial or "",
                "arch": gateway.box.arch or "",
                "settings": gateway.digest(),
            }
        )
    return found
