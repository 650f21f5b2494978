"""[network.*] of the settings: cards, VLANs, bonds and bridges, and their addresses."""

from __future__ import annotations

import ipaddress
from typing import Literal, Self

from pydantic import Field, model_validator

from edgeimg.provision.addresses import Address, Destination, DomainName, InterfaceAddress, Mac
from edgeimg.provision.values import CardName, NetworkName
from edgeimg.text.validation import Table

WIRELESS = ("wl", "ww")
"""How systemd names wireless and mobile cards: nothing at boot waits for these."""
BEHIND = 2048
"""The metric of routes by wireless cards, as in the image's own files: wired ones go first."""
_LEAST_MTU = 1280
BondMode = Literal[
    "active-backup", "802.3ad", "balance-rr", "balance-xor", "balance-alb", "balance-tlb",
    "broadcast",
]  # fmt: skip
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Route(Table):
    """A route beside the default one."""

    to: Destination
    via: Address
    metric: int | None = Field(None, ge=0, lt=1 << 32)
    on_link: bool | None = Field(
        None, description="'via' is on this network although no address here says so"
    )


class Network(Table):
    """One network card; or a VLAN, a bond or a bridge."""

    interface: CardName | None = Field(
        None, description="the card's name, or a pattern: 'enp1s0', 'en*'"
    )
    mac: Mac | None = Field(None, description="or its MAC address")
    vlan: int | None = Field(None, ge=1, le=4094, description="or a VLAN of this number …")
    on: NetworkName | None = Field(None, description="… on the card of that [network.NAME]")
    bond: tuple[NetworkName, ...] = Field(
        (), description="or a bond of the cards of these [network.NAME]"
    )
    bond_mode: BondMode | None = Field(None, description="of a bond; by default active-backup")
    bridge: tuple[NetworkName, ...] = Field(
        (), description="or a bridge of the cards of these [network.NAME]"
    )
    dhcp: bool | Literal["ipv4", "ipv6"] | None = Field(
        None, description="ask for addresses; by default when there are no fixed ones"
    )
    addresses: tuple[InterfaceAddress, ...] = Field(
        (), description="fixed addresses with their prefix: '192.168.1.2/24'"
    )
    gateway: Address | None = Field(None, description="where the rest of the world is")
    on_link: bool | None = Field(
        None,
        description="'gateway' is on this network although no address here says so; by default "
        "with addresses of /32 and /128",
    )
    metric: int | None = Field(
        None, ge=0, lt=1 << 32,
        description="of the default routes of this card: the lowest one goes first; by default "
        "wired cards go before wireless ones",
    )  # fmt: skip
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
        if self.vlan is None and self.on is not None:
            raise ValueError("'on' is for a VLAN: say 'vlan', its number")
        if self.vlan is not None and (self.on is None or self.interface or self.mac):
            raise ValueError("a VLAN needs 'on', the [network.NAME] it is on, and no card")
        kinds = (self.interface, self.mac, self.vlan, self.bond, self.bridge)
        if sum(bool(kind) for kind in kinds) != 1:
            raise ValueError(
                "expected 'interface' or 'mac', that says which card is meant; or 'vlan', 'bond' "
                "or 'bridge'"
            )
        if self.bond_mode and not self.bond:
            raise ValueError("'bond_mode' is for a bond: say 'bond', the [network.NAME] in it")
        return self

    @model_validator(mode="after")
    def _reaches_its_gateways(self) -> Self:
        if self.gateway is not None and self.on_link is None:
            self._reaches("gateway", self.gateway)
        for number, route in enumerate(self.routes):
            if route.on_link is None:
                self._reaches(f"routes.{number}.via", route.via)
        self._leads_to_others()
        return self

    def _leads_to_others(self) -> None:
        """Raises ValueError for a gateway that is no other host."""
        hops = [("gateway", self.gateway or "")]
        hops += [(f"routes.{number}.via", route.via) for number, route in enumerate(self.routes)]
        for text in self.addresses:
            here = ipaddress.ip_interface(text)
            kinds = {str(here.ip): "of this gateway itself"}
            if here.version == 4 and here.network.prefixlen < 31:
                kinds |= {
                    str(here.network[0]): "of the network",
                    str(here.network[-1]): "for broadcast",
                }
            for key, via in hops:
                if via in kinds:
                    raise ValueError(
                        f"{key}: {via} is the address {kinds[via]}: expected another host"
                    )

    @model_validator(mode="after")
    def _has_room_for_ipv6(self) -> Self:
        if self.mtu and self.mtu < _LEAST_MTU and any(":" in text for text in self.addresses):
            raise ValueError(f"mtu: IPv6 needs {_LEAST_MTU} bytes or more (RFC 8200)")
        return self

    @model_validator(mode="after")
    def _has_one_route_to_each_network(self) -> Self:
        seen: set[tuple[object, int | None]] = set()
        if self.gateway is not None:
            everything = "::/0" if ":" in self.gateway else "0.0.0.0/0"
            seen.add((ipaddress.ip_network(everything), self.metric))
        for number, route in enumerate(self.routes):
            key = (ipaddress.ip_network(route.to), route.metric)
            if key in seen:
                raise ValueError(
                    f"routes.{number}: a second route to {route.to}: give it a metric of its own, "
                    "or remove it"
                )
            seen.add(key)
        return self

    def _reaches(self, key: str, via: str) -> None:
        there = ipaddress.ip_address(via)
        asked = {"yes": (4, 6), "ipv4": (4,), "ipv6": (6,), "no": ()}[self.asks]
        if there.version in asked or (there.version == 6 and self.accept_ra):
            return  # whoever answers says what its network is
        if there.is_link_local or self.is_on_link(via):
            return
        if any(there in network for network in self._networks(there)):
            return
        raise ValueError(
            f"{key}: {via} is in none of the networks of 'addresses'; if it is reached directly "
            "even so, say on_link = true"
        )

    def _networks(self, there: _Ip) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        found = [ipaddress.ip_interface(address).network for address in self.addresses]
        return [network for network in found if network.version == there.version]

    def is_on_link(self, via: str, explicit: bool | None = None) -> bool:
        """Whether a gateway is reached directly, though no address has it in its network.

        A host address, /32 or /128, has no network: its gateway can be nowhere else.
        """
        if explicit is not None:
            return explicit
        there = ipaddress.ip_address(via)
        networks = self._networks(there)
        return (
            not there.is_link_local
            and bool(networks)
            and all(network.prefixlen == network.max_prefixlen for network in networks)
        )

    @property
    def is_virtual(self) -> bool:
        """Whether the gateway makes this device: a VLAN, a bond, a bridge."""
        return self.vlan is not None or bool(self.members)

    @property
    def members(self) -> tuple[str, ...]:
        """The [network.NAME] in a bond or a bridge."""
        return self.bond or self.bridge

    @property
    def is_wireless(self) -> bool:
        """By the name of its card."""
        return (self.interface or "").startswith(WIRELESS)

    @property
    def is_pattern(self) -> bool:
        """Whether it may be several cards."""
        return not {"*", "?"}.isdisjoint(self.interface or "")

    @property
    def asks(self) -> str:
        """The value of DHCP= in systemd.network(5)."""
        if isinstance(self.dhcp, str):
            return self.dhcp
        wanted = not self.addresses if self.dhcp is None else self.dhcp
        return "yes" if wanted else "no"

    @property
    def route_metric(self) -> int | None:
        """Of its default routes; None leaves it to networkd."""
        return BEHIND if self.metric is None and self.is_wireless else self.metric

    @property
    def is_way_out(self) -> bool:
        """Whether it has a default route of IPv4, or may get one."""
        everything = any(route.to == "0.0.0.0/0" for route in self.routes)
        fixed = self.gateway is not None and ":" not in self.gateway
        return fixed or everything or self.asks in ("yes", "ipv4")

    @property
    def is_waited_for(self) -> bool:
        """Whether the gateway counts as online only with this network."""
        if self.required is not None:
            return self.required
        return not self.is_wireless and (self.asks != "no" or bool(self.addresses))
