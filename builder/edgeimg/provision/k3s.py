"""[k3s] of the settings: the part of a gateway in its cluster, and the options that it takes."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from edgeimg.provision.addresses import Address, ServerUrl
from edgeimg.provision.value_files import hushed
from edgeimg.provision.values import Hostname, TokenFile, is_quotable
from edgeimg.recipe import provisioning
from edgeimg.recipe.harmless import HARMLESS
from edgeimg.recipe.k3s import LabelKey, LabelValue, Taint
from edgeimg.text.validation import Table

ALLOWED = "allowed"
"""The key of pydantic's context that holds the consents of the image's recipe, sorted."""
KEYS = {
    "role": "role", "server": "server", "token": "token_file", "agent-token": "agent_token_file",
    "node-name": "node_name", "node-label": "labels", "node-taint": "taints", "node-ip": "node_ips",
}  # fmt: skip
"""Options that have keys of their own."""
Value = str | bool | tuple[str, ...]
"""What an option may have as its value in k3s.yaml."""


def _option(name: str, info: ValidationInfo) -> str:
    plain = name.rstrip("+")
    if plain in KEYS:
        raise hushed(f"has a key of its own in [k3s]: '{KEYS[plain]}'")
    if name.count("+") > 1 or not provisioning.is_known(plain, _allowed(info)):
        known = {option.partition(".")[0] for option in HARMLESS}
        if close := difflib.get_close_matches(plain, known, n=1, cutoff=0.75):
            raise hushed(f"a gateway does not take this option; did you mean '{close[0]}'?")
        if name.count("+") > 1 or not _NAME.fullmatch(plain):
            raise hushed("expected the name of an option of K3s")
        raise hushed(f"needs the consent of the image's recipe: {provisioning.consent(plain)}")
    return name


def _named(value: object) -> object:
    """Options with their names: what a value may be depends on it."""
    return {key: (key, text) for key, text in value.items()} if isinstance(value, dict) else value


def _value(
    pair: tuple[str, object], check: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> object:
    name, raw = pair
    items = raw if isinstance(raw, list | tuple) else [raw]
    if not items:
        raise hushed(
            "an empty list changes nothing on a gateway: remove it, and change what the image says "
            "in its recipe"
        )
    if not all(isinstance(item, str | int) for item in items):
        raise hushed("expected a value, or a list of values")
    value = check(raw)
    if name.removesuffix("+") not in KEYS and provisioning.is_known(
        name.rstrip("+"), _allowed(info)
    ):
        for text in value if isinstance(value, tuple) else (value,):
            if why := provisioning.refused(name, text, _allowed(info)):
                raise hushed(why)
            _is_in_range(str(text))
    return value


def _is_in_range(text: str) -> None:
    """Raises PydanticCustomError for an IP address or a network with a wrong part or prefix."""
    for part in text.split(","):
        if not _NUMBERS(part):
            continue
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise hushed(f"{part} is no IP address, and no network") from None
        if "/" in part and str(network.network_address) != part.partition("/")[0].lower():
            raise hushed(f"expected '{network}', the whole network")


def _allowed(info: ValidationInfo) -> tuple[str, ...]:
    return tuple((info.context or {}).get(ALLOWED, ()))


def _text(value: bool | int | str) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text or not is_quotable(text):
        raise ValueError("expected one line of text, without both kinds of quotes")
    return text


_NUMBERS = re.compile(
    r"[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?|[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,}(?:/[0-9]+)?"
).fullmatch
_NAME = re.compile(r"[a-z][a-z0-9-]*")
Option = Annotated[str, AfterValidator(_option)]
Text = Annotated[bool | int | str, AfterValidator(_text)]
OptionValue = Annotated[Text | tuple[Text, ...], WrapValidator(_value)]


class K3s(Table):
    """The part of this gateway in its cluster."""

    role: Literal["server", "agent"] | None = Field(
        None, description="what the gateway runs; without it, what the image says"
    )
    server: ServerUrl | None = Field(
        None, description="of the server that an agent belongs to: 'https://10.0.0.1:6443'"
    )
    token: TokenFile | None = Field(
        None, alias="token_file", description="file with the cluster's token, a secret"
    )
    agent_token: TokenFile | None = Field(
        None, alias="agent_token_file", description="file with a token for agents alone, a secret"
    )
    node_name: Hostname | None = Field(None, description="instead of the host name")
    node_ips: tuple[Address, ...] = Field(
        (),
        max_length=2,
        description="which addresses others reach this node at; by default its only "
        "fixed one if it has no gateway, else that of the card with the default route",
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="added to those of the image"
    )
    taints: tuple[Taint, ...] = Field((), description="added to those of the image")
    config: Annotated[dict[Option, OptionValue], BeforeValidator(_named)] = Field(
        default_factory=dict,
        description="further options of K3s; a '+' at the end adds to what the image says",
    )

    @model_validator(mode="after")
    def _has_one_address_of_each_family(self) -> Self:
        if len({":" in address for address in self.node_ips}) < len(self.node_ips):
            raise ValueError("node_ips: expected one address of IPv4 and one of IPv6")
        return self

    @model_validator(mode="after")
    def _is_reached_by_others(self) -> Self:
        for text in self.node_ips:
            address = ipaddress.ip_address(text)
            if address.is_loopback or address.is_link_local:
                raise ValueError(f"node_ips: others do not reach {text}: expected another address")
        return self

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.role != "agent":
            return self
        if self.server is None:
            raise ValueError("an agent needs 'server', such as 'https://10.0.0.1:6443'")
        for name in self.config:
            if provisioning.is_for_servers(name.rstrip("+")):
                raise ValueError(f"config: '{name}' is for servers, and this is an agent")
        if self.agent_token is not None:
            raise ValueError("'agent_token_file' is for servers, and this is an agent")
        return self

    def options(self) -> dict[str, Value]:
        """What k3s.yaml says, with secrets."""
        options: dict[str, Value | None] = {
            "role": self.role, "server": self.server and self.server.rstrip("/"),
            "token": _opened(self.token), "agent-token": _opened(self.agent_token),
            "node-name": self.node_name, "node-ip": ",".join(self.node_ips) or None,
            "node-label+": tuple(f"{key}={text}" for key, text in sorted(self.labels.items())),
            "node-taint+": self.taints,
        }  # fmt: skip
        config = {name: _plain(value) for name, value in self.config.items()}
        return {name: value for name, value in {**options, **config}.items() if value}


def _opened(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _plain(value: bool | int | str | tuple[bool | int | str, ...]) -> Value:
    return tuple(map(str, value)) if isinstance(value, tuple) else str(value)


def server_host(url: str) -> str:
    """The host in an address such as `https://[fd00::1]:6443`."""
    host = url.removeprefix("https://").rstrip("/")
    if host.startswith("["):
        return str(ipaddress.ip_address(host[1:].partition("]")[0]))
    return host.partition(":")[0]
