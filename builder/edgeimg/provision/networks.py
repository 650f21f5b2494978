"""All networks of a gateway together: what must fit, and what follows for K3s."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Iterable, Mapping

from edgeimg.provision.network import Network

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_DEVICE = 15
"""Characters of a device's name (Linux, IFNAMSIZ)."""
_TAKEN = (
    "lo", "offline0", "wg0", "cni0", "flannel*", "veth*", "kube-*", "docker*", "all", "default",
)  # fmt: skip
"""Devices of the gateway, of K3s and of the kernel."""
_SAMPLES = ("lo", "offline0", "cni0", "flannel.1", "flannel-v6.1", "vethd1c0ffee", "kube-ipvs0",
            "docker0")  # fmt: skip
"""Some of them, which no pattern for cards may take."""


def only_address(networks: Mapping[str, Network]) -> str | None:
    """The address to configure for the gateway's node, or None where K3s finds it.

    K3s prefers IPv4, and would take that of the card that leads nowhere, which is the same on all
    gateways: where there is no default route, and where all addresses are of IPv6.
    """
    asked = {one.asks for name, one in networks.items() if not _is_member(name, networks)}
    fixed = [ipaddress.ip_interface(a).ip for one in networks.values() for a in one.addresses]
    fixed = [address for address in fixed if not address.is_link_local]
    if len(fixed) != 1 or asked & {"yes", "ipv4"}:
        return None
    is_v6 = fixed[0].version == 6
    if not is_v6 and (asked != {"no"} or any(one.gateway for one in networks.values())):
        return None
    return str(fixed[0])


def master(name: str, networks: Mapping[str, Network]) -> str | None:
    """The bond or bridge that a card is in."""
    return next((other for other, one in networks.items() if name in one.members), None)


def _is_member(name: str, networks: Mapping[str, Network]) -> bool:
    return master(name, networks) is not None


def consistent(networks: Mapping[str, Network]) -> None:
    """Raises ValueError when networks do not fit together."""
    _names(networks)
    cards: dict[str, str] = {}
    for name, network in networks.items():
        if network.on is not None:
            under = networks.get(network.on)
            if under is None or under.vlan is not None:
                raise ValueError(f"network.{name}: on: there is no card [network.{network.on}]")
        elif not network.is_virtual:
            card = (network.mac or network.interface or "").lower()
            if card in cards:
                raise ValueError(f"network.{name}: {card} is [network.{cards[card]}] already")
            cards[card] = name
    numbers = [(one.on, one.vlan) for one in networks.values() if one.vlan]
    if len(set(numbers)) < len(numbers):
        raise ValueError("network: a VLAN is there twice on one card")
    _members(networks)
    _addresses(networks)


def _names(networks: Mapping[str, Network]) -> None:
    folded: dict[str, str] = {}
    for name, network in networks.items():
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"network.{name}: differs from {other} in capitals alone")
        if network.is_virtual and len(name) > _DEVICE:
            raise ValueError(f"network.{name}: expected at most {_DEVICE} characters for a device")
        if network.is_virtual and any(fnmatch.fnmatch(name, taken) for taken in _TAKEN):
            raise ValueError(
                f"network.{name}: a device of the gateway has this name: choose another"
            )
    cards = {one.interface: name for name, one in networks.items()}
    for name, network in networks.items():
        card = network.interface or ""
        if device := next((one for one in _SAMPLES if fnmatch.fnmatchcase(one, card)), None):
            what = f"'{card}' takes {device} too" if network.is_pattern else card
            raise ValueError(
                f"network.{name}: interface: {what}, a device of the gateway or of K3s: expected "
                "a card such as 'enp1s0', or a pattern such as 'en*'"
            )
        if network.is_virtual and name in cards:
            raise ValueError(
                f"network.{name}: [network.{cards[name]}] is a card of this name: choose another"
            )
    patterns = sorted((n, one.interface or "") for n, one in networks.items() if one.is_pattern)
    for number, (name, pattern) in enumerate(patterns):
        for first, wider in patterns[:number]:
            if fnmatch.fnmatchcase(pattern.replace("*", "a").replace("?", "a"), wider):
                raise ValueError(
                    f"network.{name}: '{wider}' of [network.{first}] takes these cards first: "
                    f"choose a name that sorts before {first}"
                )


def _members(networks: Mapping[str, Network]) -> None:
    seen: dict[str, str] = {}
    for name, network in networks.items():
        for member in network.members:
            under = networks.get(member)
            if under is None or member == name or under.bridge or (network.bond and under.bond):
                raise ValueError(f"network.{name}: there is no card [network.{member}]")
            if seen.setdefault(member, name) != name or network.members.count(member) > 1:
                raise ValueError(f"network.{name}: {member} is in {seen[member]} already")
            if under.addresses or under.dhcp or under.gateway or under.routes:
                raise ValueError(f"network.{member}: is in {name}, which has the addresses")
            if under.is_wireless:
                raise ValueError(f"network.{member}: a wireless card cannot be in {name}")


def _addresses(networks: Mapping[str, Network]) -> None:
    seen: dict[str, str] = {}
    for name, network in networks.items():
        for text in network.addresses:
            here = ipaddress.ip_interface(text)
            require_of_a_host(f"network.{name}: addresses", here)
            other = seen.setdefault(str(here.ip), name)
            if other != name or network.addresses.count(text) > 1:
                raise ValueError(f"network.{name}: addresses: {here.ip} is there twice")


def require_of_a_host(place: str, here: Interface) -> None:
    """Raises ValueError for the first and the last address of an IPv4 network.

    Networks of /31 and /32 have neither (RFC 3021); IPv6 has no broadcast. `place` is the key of
    the address, for the message.
    """
    if isinstance(here, ipaddress.IPv6Interface) or here.network.prefixlen > 30:
        return
    network = here.network
    kinds = {network.network_address: "of the network", network.broadcast_address: "for broadcast"}
    if kind := kinds.get(here.ip):
        raise ValueError(
            f"{place}: {here} is the address {kind}: expected one between "
            f"{network[1]} and {network[-2]}"
        )


def overlapping(addresses: Iterable[str], ranges: Iterable[str]) -> list[tuple[str, str]]:
    """Which addresses lie in, or around, networks that are used for something else."""
    spans = [ipaddress.ip_network(text, strict=False) for text in ranges]
    return [
        (address, str(span))
        for address in addresses
        for span in spans
        if span.version == ipaddress.ip_interface(address).version
        and span.overlaps(ipaddress.ip_interface(address).network)
    ]
