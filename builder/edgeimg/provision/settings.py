"""Settings of one gateway, as its owner writes them. Holds secrets, which print as stars.

What is left out stays as the image has it, or as it was provisioned before.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from edgeimg.provision import networks
from edgeimg.provision.addresses import (
    EndpointUrl,
    NoProxy,
    ProxyUrl,
    RolloutUrl,
    ServerName,
    UpdateUrl,
)
from edgeimg.provision.k3s import K3s
from edgeimg.provision.network import Network
from edgeimg.provision.values import (
    Apn,
    ApnPasswordFile,
    CertificateFile,
    Country,
    Hostname,
    NetworkName,
    PassphraseFile,
    PasswordFile,
    PinFile,
    RegistryPasswordFile,
    RolloutTokenFile,
    ScriptFile,
    Site,
    SshKey,
    SshKeyFile,
    Ssid,
    Tenant,
    Timezone,
    Word,
    is_wifi_key,
)
from edgeimg.provision.wireguard import Wireguard
from edgeimg.recipe.k3s import RegistryName
from edgeimg.text.validation import Table

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Networks that a proxy is not asked for, unless the settings say otherwise (RFC 1918)."""


class WifiNetwork(Table):
    """A wireless network that the gateway joins."""

    ssid: Ssid = Field(description="its name")
    security: Literal["wpa2", "wpa3", "wpa2/wpa3", "open"] = Field(
        "wpa2", description="how it is secured"
    )
    passphrase: PassphraseFile | None = Field(
        None, alias="passphrase_file", description="file with its passphrase, a secret"
    )
    hidden: bool = Field(False, description="it does not tell its name")
    priority: int = Field(0, ge=0, le=1000, description="the highest one in reach is joined")

    @model_validator(mode="after")
    def _open_is_open(self) -> Self:
        if self.security == "open" and self.passphrase is not None:
            raise ValueError("an open network has no passphrase")
        word = self.passphrase.get_secret_value() if self.passphrase else ""
        if self.security != "wpa2" and is_wifi_key(word):
            raise ValueError(f"{self.security} takes a passphrase: a key of 64 digits is for wpa2")
        return self


class Wifi(Table):
    """Wireless networks, for the service `wifi` of the image."""

    country: Country = Field(
        description="where the gateway stands, for the channels that are allowed: 'DE'"
    )
    networks: tuple[WifiNetwork, ...] = Field(min_length=1)


class Lte(Table):
    """The mobile network, for the service `lte` of the image."""

    apn: Apn = Field(description="access point name, of the operator")
    user: Word | None = None
    password: ApnPasswordFile | None = Field(
        None, alias="password_file", description="file with the password, a secret"
    )
    pin: PinFile | None = Field(
        None, alias="pin_file", description="file with the PIN of the SIM card, a secret"
    )


class Proxy(Table):
    """How K3s and containerd reach the world."""

    http: ProxyUrl | None = Field(None, description="for http: 'http://proxy.lan:3128'")
    https: ProxyUrl | None = Field(None, description="for https; by default the same")
    no_proxy: tuple[NoProxy, ...] = Field(
        PRIVATE,
        description="what is reached without; by default private networks. The cluster's own "
        "networks and its server are added",
    )
    user: Word | None = None
    password: PasswordFile | None = Field(
        None, alias="password_file", description="file with the password, a secret"
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.http is None and self.https is None:
            raise ValueError("expected 'http' or 'https', the address of the proxy")
        _of_somebody(self)
        return self


class Registry(Table):
    """Where images of a registry are pulled from, and as whom."""

    endpoints: tuple[EndpointUrl, ...] = Field(
        (), description="mirrors, asked in this order before the registry itself"
    )
    insecure: bool = Field(False, description="do not check certificates")
    user: Word | None = None
    password: RegistryPasswordFile | None = Field(
        None, alias="password_file", description="file with the password, a secret"
    )
    ca: CertificateFile | None = Field(
        None, alias="ca_file", description="file with certificates (PEM) that vouch for it alone"
    )

    @model_validator(mode="after")
    def _password_is_somebodys(self) -> Self:
        _of_somebody(self)
        return self

    def hosts(self, name: str) -> tuple[str, ...]:
        """Whom user, password and certificates are for, as HOST:PORT."""
        return tuple(urlsplit(endpoint).netloc for endpoint in self.endpoints) or (name,)


class Rollout(Table):
    """The roll-out server, for images with [rollout]; the gateway's name there is its host name."""

    token: RolloutTokenFile = Field(
        alias="token_file",
        description="file with this gateway's token at the server, a secret. "
        "`edgeimg fleet register` makes the tokens of a fleet",
    )
    server: RolloutUrl | None = Field(
        None, description="address of the server; by default the recipe's"
    )
    tenant: Tenant | None = Field(None, description="tenant; by default the recipe's")
    site: Site | None = Field(None, description="reported to the server, for groups and reports")


class Update(Table):
    """New versions, for images with [update]. Their key is the image's."""

    url: UpdateUrl = Field(
        description="directory with the files of the newest release, in place of the recipe's"
    )


class Settings(Table):
    """One gateway."""

    hostname: Hostname | None = Field(
        None, description="lower-case letters, digits and '-'; also the name of the node"
    )
    ssh_keys: tuple[SshKey, ...] = Field((), description="public keys of those who may log in")
    ssh_key_files: tuple[SshKeyFile, ...] = Field((), description="files of public keys")
    ntp: tuple[ServerName, ...] = Field((), max_length=8, description="time servers")
    timezone: Timezone | None = Field(
        None, description="'Europe/Berlin', or a rule such as 'CET-1CEST,M3.5.0,M10.5.0/3'"
    )
    ca: tuple[CertificateFile, ...] = Field(
        (), alias="ca_files", max_length=16,
        description="files of further authorities' certificates (PEM), for everything",
    )  # fmt: skip
    script: ScriptFile | None = Field(
        None, alias="script_file",
        description="a shell script that the gateway runs once, if its image allows one",
    )  # fmt: skip
    network: dict[NetworkName, Network] = Field(
        default_factory=dict,
        max_length=100,
        description="cards and VLANs, by names of your choice",
    )
    wireguard: Wireguard | None = None
    wifi: Wifi | None = None
    lte: Lte | None = None
    proxy: Proxy | None = None
    k3s: K3s | None = None
    registries: dict[RegistryName, Registry] = Field(
        default_factory=dict,
        max_length=100,
        description="by registry, such as \"docker.io\"; '*' are all",
    )

    rollout: Rollout | None = None
    update: Update | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        networks.consistent(self.network)
        self._require_own_tunnel()
        known: dict[str, tuple[str, Registry]] = {}
        for name, registry in self.registries.items():
            if not registry.endpoints and name == "*":
                raise ValueError("registries.*: expected 'endpoints': no server is called so")
            for host in registry.hosts(name):
                before, other = known.setdefault(host, (name, registry))
                if _access(other) != _access(registry):
                    raise ValueError(
                        f"registries: {before} and {name} differ about {host}: "
                        "expected the same user, password_file, ca_file and insecure in both"
                    )
        return self

    def _require_own_tunnel(self) -> None:
        """Raises ValueError when a card has an address of the tunnel."""
        tunnel = self.wireguard.addresses if self.wireguard else ()
        here = {ipaddress.ip_interface(text).ip for text in tunnel}
        for name, network in self.network.items():
            for text in network.addresses:
                if ipaddress.ip_interface(text).ip in here:
                    raise ValueError(f"network.{name}: addresses: {text} is that of [wireguard]")


def _of_somebody(login: Proxy | Registry) -> None:
    if login.password is not None and login.user is None:
        raise ValueError("'password_file' needs 'user', whose password it is")


def _access(registry: Registry) -> tuple[object, ...]:
    return registry.user, registry.password, registry.ca, registry.insecure


def settings_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of settings, for editors and other programs."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeimg settings of a gateway",
        **Settings.model_json_schema(by_alias=True),
    }
