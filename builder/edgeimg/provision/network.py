"""[network.*] of the settings: cards, VLANs on them, and how they get their addresses."""

from __future__ import annotations

import ipaddress
from typing import Literal, Self

from pydantic import Field, model_validator

from edgeimg.provision.values import (
    Address,
    CardName,
    Destination,
    DomainName,
    InterfaceAddress,
    Mac,
    NetworkName,
)
from edgeimg.text.validation import Table

WIRELESS = ("wl", "ww")
"""How systemd names wireless and mobile cards: nothing at boot waits for these."""


class Route(Table):
    """A route beside the default one."""

    to: Destination
    via: Address
    metric: int | None = Field(None, ge=0, lt=1 << 32)


class Network(Table):
    """One network card, or a VLAN on one."""

    interface: CardName | None = Field(
        None, description="the card's name, or a pattern: 'enp1s0', 'en*'"
    )
    mac: Mac | None = Field(None, description="or its MAC address")
    vlan: int | None = Field(None, ge=1, le=4094, description="or a VLAN of this number …")
    on: NetworkName | None = Field(None, description="… on the card of that [network.NAME]")
    dhcp: bool | Literal["ipv4", "ipv6"] | None = Field(
        None, description="ask for addresses; by default when there are no fixed ones"
    )
    addresses: tuple[InterfaceAddress, ...] = Field(
        (), description="fixed addresses with their prefix: '192.168.1.2/24'"
    )
    gateway: Address | None = Field(None, description="where the rest of the world is")
    routes: tuple[Route, ...] = Field((), description="further routes")
    dns: tuple[Address, ...] = Field((), description="name servers, in place of those of DHCP")
    search: tuple[DomainName, ...] = Field((), description="domains that names are looked up in")
    mtu: int | None = Field(None, ge=68, le=65535, description="largest packet, in bytes")
    accept_ra: bool | None = Field(
        None, description="IPv6 router advertisements; by default with DHCP"
    )
    required: bool | None = Field(
        None,
        description="K3s waits for this network at boot, for two minutes at most; by default, "
        "unless it is wireless or has no address",
    )

    @model_validator(mode="after")
    def _is_one_card(self) -> Self:
        if self.vlan is not None:
            if self.on is None or self.interface or self.mac:
                raise ValueError("a VLAN needs 'on', the [network.NAME] it is on, and no card")
        elif self.on is not None:
            raise ValueError("'on' is for a VLAN: say 'vlan', its number")
        elif (self.interface is None) == (self.mac is None):
            raise ValueError("expected 'interface' or 'mac', that says which card is meant")
        return self

    @model_validator(mode="after")
    def _reaches_its_gateway(self) -> Self:
        if self.gateway is None:
            return self
        there = ipaddress.ip_address(self.gateway)
        networks = [ipaddress.ip_interface(address).network for address in self.addresses]
        if not any(there in network for network in networks if network.version == there.version):
            raise ValueError(f"gateway: {self.gateway} is in none of the networks of 'addresses'")
        return self

    @property
    def asks(self) -> str:
        """The value of DHCP= in systemd.network(5)."""
        if isinstance(self.dhcp, str):
            return self.dhcp
        wanted = not self.addresses if self.dhcp is None else self.dhcp
        return "yes" if wanted else "no"

    @property
    def is_waited_for(self) -> bool:
        """Whether the gateway counts as online only with this network."""
        if self.required is not None:
            return self.required
        wireless = (self.interface or "").startswith(WIRELESS)
        return not wireless and (self.asks != "no" or bool(self.addresses))


def only_address(networks: dict[str, Network]) -> str | None:
    """The address of a gateway that has one fixed address, and no default route.

    K3s would take that of the card that leads nowhere, which is the same on all gateways.
    """
    if any(one.gateway or one.asks != "no" or one.accept_ra for one in networks.values()):
        return None
    fixed = [address for one in networks.values() for address in one.addresses]
    return fixed[0].partition("/")[0] if len(fixed) == 1 else None


def consistent(networks: dict[str, Network]) -> None:
    """Raises ValueError when networks do not fit together."""
    cards: dict[str, str] = {}
    for name, network in networks.items():
        if network.on is not None:
            under = networks.get(network.on)
            if under is None or under.vlan is not None:
                raise ValueError(f"network.{name}: on: there is no card [network.{network.on}]")
        else:
            card = (network.mac or network.interface or "").lower()
            if card in cards:
                raise ValueError(f"network.{name}: {card} is [network.{cards[card]}] already")
            cards[card] = name
    numbers = [(one.on, one.vlan) for one in networks.values() if one.vlan]
    if len(set(numbers)) < len(numbers):
        raise ValueError("network: a VLAN is there twice on one card")
