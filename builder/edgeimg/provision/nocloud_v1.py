"""NoCloud's network-config, version 1: cloud-init's own format.

https://docs.cloud-init.io/en/latest/reference/network-config-format-v1.html
"""

from __future__ import annotations

import ipaddress

from edgeimg.provision import nocloud_card
from edgeimg.provision.nocloud_card import BY_HAND, Card
from edgeimg.provision.translation import Table

_KINDS = "physical, vlan, bond, bridge, nameserver, route or loopback"
_SUBNET = "type, address, netmask, gateway, dns_nameservers, dns_search, routes"
_KEYS = "name, mac_address, accept-ra, vlan_link, vlan_id, mtu, subnets, *_interfaces, params"
_Found = tuple[Table, str, Card]


def translate(table: Table) -> None:
    """Take everything that is in it. Problems are remembered in the translation."""
    everywhere = Card()
    cards: list[_Found] = []
    routes: list[Table] = []
    for entry in table.tables("config"):
        match entry.take("type", str, _KINDS):
            case "nameserver":
                everywhere.dns += entry.words("address")
                everywhere.search += entry.words("search")
                entry.without_meaning({"interface": "name servers are the gateway's"})
                entry.end("address, search")
            case "physical" | "vlan" | "bond" | "bridge" as kind:
                cards.append(_entry(entry, kind))
            case "route":
                routes.append(entry)
            case "loopback":
                entry.data.clear()  # every gateway has it
            case _:
                entry.problem("type", f"expected {_KINDS}")
    if (everywhere.dns or everywhere.search) and not cards:
        table.problem("config", "expected a card that the name servers are for")
    for route in routes:
        _route(route, [card for _, _, card in cards])
    members = {member for _, _, card in cards for member in (*card.bond, *card.bridge)}
    for entry, name, card in cards:
        if name not in members:
            card.dns = card.dns or everywhere.dns
            card.search = card.search or everywhere.search
        nocloud_card.put(entry, name, card, member=name in members)
    table.end("version, config")


def _entry(entry: Table, kind: str) -> _Found:
    name = entry.take("name", str, "a name") or ""
    found = Card(mtu=entry.take("mtu", int, "a number"),
                 accept_ra=entry.take("accept-ra", bool, "true or false"))  # fmt: skip
    mac = entry.take("mac_address", str, "a MAC address")
    match kind:
        case "physical":
            # With both, cloud-init would rename the card. The name is what others call it here.
            found.mac, found.interface = mac, None if mac else name
        case "vlan":
            found.vlan = entry.take("vlan_id", int, "a number")
            found.on = entry.take("vlan_link", str, "the name of a card")
        case "bond":
            found.bond = entry.texts("bond_interfaces")
            _bond(entry, found)
        case _:
            found.bridge = entry.texts("bridge_interfaces")
            params = entry.data.get("params")
            has_stp = isinstance(params, dict) and not {"bridge_stp", "stp"}.isdisjoint(params)
            _bridge(entry)
            if len(found.bridge) > 1 and not has_stp:
                nocloud_card.note_bridge(entry)
    if mac and kind != "physical":
        entry.problem("mac_address", f"is not supported; leave it out, or {BY_HAND}")
    for subnet in entry.tables("subnets"):
        _subnet(subnet, found)
    entry.end(_KEYS)
    return entry, name, found


def _bond(entry: Table, found: Card) -> None:
    if params := entry.table("params"):
        for key in ("bond-mode", "bond_mode", "mode"):
            found.bond_mode = nocloud_card.bond_mode(params, key) or found.bond_mode
        why = "a cable that is pulled is noticed within 100 ms"
        params.without_meaning(dict.fromkeys(("bond-miimon", "bond_miimon", "miimon"), why))
        params.end("bond-mode, bond-miimon", dict.fromkeys(params.data, BY_HAND))


def _bridge(entry: Table) -> None:
    if params := entry.table("params"):
        for key in ("bridge_stp", "stp"):
            if params.take(key, bool, "true or false"):
                params.problem(key, "expected false: a bridge here does not speak STP")
        params.without_meaning(dict.fromkeys(("bridge_fd", "fd"), "it belongs to STP"))
        params.end("bridge_stp: false")


def _subnet(subnet: Table, found: Card) -> None:
    kind = subnet.take("type", str, "dhcp or static")
    match kind:
        case "dhcp" | "dhcp4":
            found.ask("ipv4")
        case "dhcp6" | "ipv6_dhcpv6-stateful":
            found.ask("ipv6")
        case "static" | "static6":
            _static(subnet, found)
        case "ipv6_slaac" | "ipv6_dhcpv6-stateless":
            found.accept_ra = True
        case "manual":
            pass
        case _:
            subnet.problem("type", "expected dhcp, dhcp4, dhcp6, static, static6 or ipv6_slaac")
    if subnet.take("control", str, "auto") not in (None, "auto"):
        subnet.problem("control", "expected auto: a gateway brings all its cards up")
    for key in ("ipv4", "ipv6"):  # what `type` says already
        subnet.take(key, bool, "true or false")
    found.dns += subnet.words("dns_nameservers")
    found.search += subnet.words("dns_search")
    for route in subnet.tables("routes"):
        _to(route, found, "network")
    subnet.end(_SUBNET)


def _static(subnet: Table, found: Card) -> None:
    address = subnet.take("address", str, "an address")
    netmask = subnet.text("netmask", "a netmask")
    if address is None:
        subnet.problem(None, "expected 'address'")
    else:
        found.addresses.append(_with_prefix(subnet, address, netmask))
    if gateway := subnet.take("gateway", str, "an address"):
        # As cloud-init: a gateway that no address has in its network is reached directly.
        away = address is not None and _is_in(found.addresses[-1], gateway) is False
        found.route("default", gateway, None, on_link=away or None)


def _route(route: Table, cards: list[Card]) -> None:
    """A route that names no card goes by the one whose network its gateway is in."""
    via = str(route.data.get("gateway"))
    for card in cards:
        if any(_is_in(address, via) for address in card.addresses):
            _to(route, card, "destination")
            return
    route.problem("gateway", f"{via} is in the network of no card here")


def _to(route: Table, found: Card, key: str) -> None:
    to, via = route.take(key, str, "a network"), route.take("gateway", str, "an address")
    mask = route.text("netmask", "a netmask")
    metric = route.take("metric", int, "a number")
    route.end(f"{key}, netmask, gateway, metric")
    if to and via:
        found.route(_with_prefix(route, to, mask), via, metric, on_link=None)
    else:
        route.problem(None, f"expected '{key}' and 'gateway'")


def _is_in(address: str, gateway: str) -> bool | None:
    """Whether a gateway is in the network of an address; None where one of them is no address."""
    try:
        there = ipaddress.ip_address(gateway)
        return there.is_link_local or there in ipaddress.ip_interface(address).network
    except (ValueError, TypeError):
        return None


def _with_prefix(table: Table, address: str, netmask: str | None) -> str:
    if netmask is None or "/" in address:
        return address
    try:
        if ":" in netmask:  # a mask of IPv6, which Python does not take
            bits = f"{int(ipaddress.IPv6Address(netmask)):0128b}"
            netmask = str(len(bits.rstrip("0"))) if "01" not in bits else netmask
        return ipaddress.ip_interface(f"{address}/{netmask}").with_prefixlen
    except ValueError:
        table.problem("netmask", f"{address} and {netmask} are no address with a netmask")
        return address
