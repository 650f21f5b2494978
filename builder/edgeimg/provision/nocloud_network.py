"""NoCloud's network-config, version 1 and 2 → [network.*] and [wifi] of the settings.

https://docs.cloud-init.io/en/latest/reference/network-config.html
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from pydantic import SecretStr

from edgeimg.provision.translation import Table
from edgeimg.text.toml_text import Place

_CARD = "dhcp4, dhcp6, addresses, gateway4, gateway6, routes, nameservers, mtu, optional, accept-ra"
_SUBNET = "type, address, netmask, gateway, dns_nameservers, dns_search, routes"
_DEFAULTS = {"default": None, "0.0.0.0/0": None, "::/0": None}


@dataclass(kw_only=True)
class _Network:
    """A table of [network.*] that grows; None and empty lists are left out of the settings."""

    interface: str | None = None
    mac: str | None = None
    vlan: int | None = None
    on: str | None = None
    dhcp: bool | str = False
    addresses: list[str] = field(default_factory=list)
    gateway: str | None = None
    mtu: int | None = None
    required: bool | None = None
    accept_ra: bool | None = None
    routes: list[dict[str, str | int | None]] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)


def translate(table: Table) -> None:
    """Take everything that is in network-config. Problems are remembered in the translation."""
    whole = table
    if inner := table.table("network"):
        table.end("network, or the keys in it")
        whole = inner
    match whole.take("version", int, "1 or 2"):
        case 1:
            _version_1(whole)
        case 2:
            _version_2(whole)
        case _:
            whole.problem("version", "expected version: 1 or version: 2")


def _version_2(table: Table) -> None:
    renderer = table.take("renderer", str, "networkd")
    if renderer not in (None, "networkd"):
        table.problem("renderer", "expected networkd: it is what gateways have")
    for kind in ("ethernets", "vlans", "wifis"):
        if cards := table.table(kind):
            for name, card in cards.entries():
                found = _card(card)
                if kind == "ethernets":
                    _match(card, name, found)
                elif kind == "vlans":
                    found.vlan = card.take("id", int, "a number")
                    found.on = card.take("link", str, "the name of a card")
                else:
                    found.interface = name
                    _wifi(card)
                extra = {"ethernets": "match", "vlans": "id, link",
                         "wifis": "access-points, regulatory-domain"}  # fmt: skip
                card.end(f"{extra[kind]}, {_CARD}")
                _put(card, name, found)
    table.end("version, renderer, ethernets, vlans, wifis")


def _match(card: Table, name: str, found: _Network) -> None:
    match = card.table("match")
    if match is None:
        found.interface = name
        return
    mac = match.take("macaddress", str, "a MAC address")
    pattern = match.take("name", str, "a name")
    if mac and pattern:
        match.problem(None, "expected macaddress or name, and not both")
    if mac:
        found.mac = mac
    else:
        found.interface = pattern or name
    match.end("macaddress, name")


def _card(card: Table) -> _Network:
    asks = [bool(card.take(key, bool, "true or false")) for key in ("dhcp4", "dhcp6")]
    optional = card.take("optional", bool, "true or false")
    found = _Network(
        dhcp=asks[0] if asks[0] == asks[1] else "ipv4" if asks[0] else "ipv6",
        addresses=card.texts("addresses"),
        gateway=card.take("gateway4", str, "an address"),
        mtu=card.take("mtu", int, "a number"),
        required=None if optional is None else not optional,
        accept_ra=card.take("accept-ra", bool, "true or false"),
    )
    if gateway := card.take("gateway6", str, "an address"):
        found.routes.append({"to": "::/0", "via": gateway})
    for route in card.tables("routes"):
        _route(route, found)
    if servers := card.table("nameservers"):
        found.dns, found.search = servers.texts("addresses"), servers.texts("search")
        servers.end("addresses, search")
    return found


def _route(route: Table, found: _Network) -> None:
    to = route.take("to", str, "a network")
    via = route.take("via", str, "an address")
    metric = route.take("metric", int, "a number")
    route.end("to, via, metric")
    if to is None or via is None:
        route.problem(None, "expected 'to' and 'via'")
    elif to in _DEFAULTS and ":" not in via and not found.gateway and metric is None:
        found.gateway = via
    else:
        everywhere = "::/0" if ":" in via else "0.0.0.0/0"
        found.routes.append(
            {"to": everywhere if to in _DEFAULTS else to, "via": via, "metric": metric}
        )


def _wifi(card: Table) -> None:
    told = card.told
    place = card.place("regulatory-domain")
    if country := card.take("regulatory-domain", str, "a country such as DE"):
        told.put(("wifi", "country"), country, place)
    points = card.table("access-points")
    if points is None:
        card.problem(None, "expected access-points")
        return
    networks = list(told.data.get("wifi", {}).get("networks", []))
    for ssid, point in points.entries():
        password = point.take("password", str, "a text")
        network: dict[str, object] = {"ssid": ssid, "security": "wpa2" if password else "open"}
        if password:
            network["passphrase_file"] = SecretStr(password)
        network["hidden"] = bool(point.take("hidden", bool, "true or false"))
        point.end("password, hidden")
        networks.append(network)
        told.places[("wifi", "networks", len(networks) - 1)] = point.place()
    told.put(("wifi", "networks"), networks, points.place())


def _version_1(table: Table) -> None:
    everywhere = _Network()
    cards: list[tuple[Table, str, _Network]] = []
    for entry in table.tables("config"):
        kind = entry.take("type", str, "physical, vlan or nameserver")
        if kind == "nameserver":
            everywhere.dns += entry.texts("address")
            everywhere.search += entry.texts("search")
            entry.end("address, search")
        elif kind in ("physical", "vlan"):
            name = entry.take("name", str, "a name") or ""
            found = _physical(entry, name) if kind == "physical" else _vlan(entry)
            for subnet in entry.tables("subnets"):
                _subnet(subnet, found)
            entry.end("name, mac_address, vlan_link, vlan_id, mtu, subnets")
            cards.append((entry, name, found))
        else:
            entry.problem("type", "expected physical, vlan or nameserver")
    for entry, name, found in cards:
        found.dns = found.dns or everywhere.dns
        found.search = found.search or everywhere.search
        _put(entry, name, found)
    table.end("version, config")


def _physical(entry: Table, name: str) -> _Network:
    # With both, cloud-init would rename the card. The name is what VLANs call it by here.
    mac = entry.take("mac_address", str, "a MAC address")
    mtu = entry.take("mtu", int, "a number")
    return _Network(mac=mac, mtu=mtu) if mac else _Network(interface=name, mtu=mtu)


def _vlan(entry: Table) -> _Network:
    return _Network(
        vlan=entry.take("vlan_id", int, "a number"),
        on=entry.take("vlan_link", str, "the name of a card"),
        mtu=entry.take("mtu", int, "a number"),
    )


def _subnet(subnet: Table, found: _Network) -> None:
    kind = subnet.take("type", str, "dhcp or static")
    if kind in ("dhcp", "dhcp4"):
        found.dhcp = "ipv4" if found.dhcp in (False, "ipv4") else True
    elif kind == "dhcp6":
        found.dhcp = "ipv6" if found.dhcp in (False, "ipv6") else True
    elif kind in ("static", "static6"):
        address = subnet.take("address", str, "an address")
        netmask = subnet.take("netmask", str, "a netmask")
        if address is None:
            subnet.problem(None, "expected 'address'")
        else:
            found.addresses.append(_with_prefix(subnet, address, netmask))
        gateway = subnet.take("gateway", str, "an address")
        if gateway and ":" in gateway:
            found.routes.append({"to": "::/0", "via": gateway})
        elif gateway:
            found.gateway = gateway
    else:
        subnet.problem("type", "expected dhcp, dhcp4, dhcp6, static or static6")
    found.dns += subnet.texts("dns_nameservers")
    found.search += subnet.texts("dns_search")
    for route in subnet.tables("routes"):
        to, via = route.take("network", str, "a network"), route.take("gateway", str, "an address")
        mask = route.take("netmask", str, "a netmask")
        route.end("network, netmask, gateway")
        if to and via:
            to = _with_prefix(route, to, mask)
            found.routes.append({"to": to, "via": via})
        else:
            route.problem(None, "expected 'network' and 'gateway'")
    subnet.end(_SUBNET)


def _with_prefix(table: Table, address: str, netmask: str | None) -> str:
    if netmask is None or "/" in address:
        return address
    try:
        return ipaddress.ip_interface(f"{address}/{netmask}").with_prefixlen
    except ValueError:
        table.problem("netmask", f"{address} and {netmask} are no address with a netmask")
        return address


def _put(card: Table, name: str, found: _Network) -> None:
    """Into the settings, without what was not said."""
    place: Place = card.place()
    said = {key: value for key, value in vars(found).items() if value not in (None, [])}
    card.told.put(("network", name), said, place)
