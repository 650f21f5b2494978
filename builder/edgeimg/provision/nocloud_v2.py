"""NoCloud's network-config, version 2: netplan's format.

https://netplan.readthedocs.io/en/stable/netplan-yaml/
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from edgeimg.provision import nocloud_card, nocloud_tunnel
from edgeimg.provision.nocloud_card import BY_HAND, Card
from edgeimg.provision.translation import Table

_CARD = (
    "dhcp4, dhcp6, dhcp4-overrides, dhcp6-overrides, addresses, gateway4, gateway6, routes, "
    "nameservers, mtu, optional, accept-ra"
)
_EXTRA = {
    "ethernets": "match, set-name",
    "vlans": "id, link",
    "bonds": "interfaces, parameters",
    "bridges": "interfaces, parameters",
    "wifis": "access-points, regulatory-domain",
}
_TOP = f"version, renderer, {', '.join(_EXTRA)}, tunnels"
_CARD_WAYS = {
    "macaddress": f"a card keeps its own address; for a bond or a bridge {BY_HAND}",
    "openvswitch": BY_HAND,
    "routing-policy": BY_HAND,
    "ipv6-address-token": BY_HAND,
    "activation-mode": "a gateway brings all its cards up: leave it out",
    "auth": "802.1X is not supported: expected a port of the switch without it",
}
_MATCH_WAYS = {
    "driver": "a card is found by macaddress or name: say name, a pattern such as 'en*'",
    "path": "a card is found by macaddress or name",
}
_ROUTE_WAYS = {"table": BY_HAND, "type": BY_HAND, "from": BY_HAND, "mtu": BY_HAND}
_LOGIN = ": a login for each user (802.1X, EAP) is not supported"
_TOP_WAYS = {
    "modems": "say it in a TOML file of settings: [lte] has apn, user, password_file and pin_file",
    "vrfs": BY_HAND,
    "dummy-devices": BY_HAND,
    "virtual-ethernets": BY_HAND,
    "nm-devices": "expected networkd: it is what gateways have",
}
_POINT_WAYS = {
    "bssid": "a card joins whichever access point of the network is in reach: leave it out",
    "band": "a card looks for the network in all bands: leave it out",
    "channel": "a card looks for the network in all channels: leave it out",
}
_ASLEEP = {
    "wakeonlan": "a gateway does not sleep",
    "wakeonwlan": "a gateway does not sleep",
    "critical": "a card keeps its addresses while networkd restarts",
}
_SECURITY = {"none": "open", "psk": "wpa2", "sae": "wpa3"}
_KEPT = {"set-name": "a card keeps its name; others refer to it by its name in this file"}
_ALREADY = {
    "dhcp-identifier": "mac",
    "link-local": ["ipv6"],
    "ipv6-privacy": False,
    "wakeonlan": False,
    "emit-lldp": False,
    "ignore-carrier": False,
    "ipv6-address-generation": "eui64",
}
_BRIDGE_WAY = f"a bridge here does not speak STP: say stp: false, or {BY_HAND}"
_DHCP = ("use-ntp", "send-hostname", "use-hostname", "use-routes")
_DHCP_WAYS = {
    "use-dns": "name servers of DHCP are used unless the card has nameservers",
    "use-routes": f"give the card the higher route-metric, or {BY_HAND}",
}
_BOND = {
    "mii-monitor-interval": "a cable that is pulled is noticed within 100 ms",
    "lacp-rate": "the slow rate is used",
}
_BRIDGE = {
    "forward-delay": "a bridge here does not speak STP",
    "stp": "a bridge here does not speak STP",
}


def translate(table: Table) -> None:
    """Take everything that is in it. Problems are remembered in the translation."""
    _renderer(table)
    found: list[tuple[Table, str, Card]] = []
    for kind, extra in _EXTRA.items():
        cards = table.table(kind)
        if cards and isinstance(cards.data.get("renderer"), str):
            _renderer(cards)
        for name, card in cards.entries() if cards else ():
            one = _card(card)
            _own(kind, card, name, one)
            card.end(f"{extra}, {_CARD}", _CARD_WAYS)
            found.append((card, name, one))
    members = {member for _, _, one in found for member in (*one.bond, *one.bridge)}
    for card, name, one in found:
        nocloud_card.put(card, name, one, member=name in members)
    tunnels = table.table("tunnels")
    for number, (name, tunnel) in enumerate(tunnels.entries() if tunnels else ()):
        nocloud_tunnel.translate(tunnel, name, first=number == 0)
    table.end(_TOP, _TOP_WAYS)


def _renderer(table: Table) -> None:
    """It may stand on top, for one kind of cards, or for one card."""
    if table.take("renderer", str, "networkd") not in (None, "networkd"):
        table.problem("renderer", "expected networkd: it is what gateways have")


def _own(kind: str, card: Table, name: str, found: Card) -> None:
    """What only cards of this kind have."""
    match kind:
        case "ethernets":
            _match(card, name, found)
        case "vlans":
            found.vlan = card.take("id", int, "a number")
            found.on = card.take("link", str, "the name of a card")
        case "bonds":
            found.bond = card.texts("interfaces")
            if parameters := card.table("parameters"):
                found.bond_mode = nocloud_card.bond_mode(parameters, "mode")
                parameters.without_meaning(_BOND)
                for key in ("up-delay", "down-delay"):
                    parameters.already(key, 0, "0")
                parameters.end(
                    "mode, mii-monitor-interval", dict.fromkeys(parameters.data, BY_HAND)
                )
        case "bridges":
            found.bridge = card.texts("interfaces")
            parameters = card.table("parameters")
            if parameters and parameters.data.get("stp") in (False, "false", "no", "off"):
                parameters.without_meaning(_BRIDGE)
            elif len(found.bridge) > 1 and not (parameters and "stp" in parameters.data):
                nocloud_card.note_bridge(card)
            if parameters:
                parameters.end("stp: false", dict.fromkeys(parameters.data, _BRIDGE_WAY))
        case _:
            found.interface = name
            _wifi(card)


def _match(card: Table, name: str, found: Card) -> None:
    card.without_meaning(_KEPT)
    match = card.table("match")
    if match is None:
        found.interface = name
        return
    if not match.data:
        match.problem(None, "expected macaddress or name")
    mac = match.take("macaddress", str, "a MAC address")
    pattern = match.take("name", str, "a name")
    if mac and pattern:
        match.problem(None, "expected macaddress or name, and not both")
    if mac:
        found.mac = mac
    else:
        found.interface = pattern or name
    match.end("macaddress, name", _MATCH_WAYS)


def _card(card: Table) -> Card:
    _renderer(card)
    for key, value in _ALREADY.items():
        card.already(key, value)
    card.without_meaning(_ASLEEP)
    if card.data.get("link-local") == []:
        card.problem("link-local", "expected [ipv6]: a gateway always has such an address")
        del card.data["link-local"]
    optional = card.take("optional", bool, "true or false")
    found = Card(
        addresses=card.texts("addresses"),
        gateway=card.take("gateway4", str, "an address"),
        mtu=card.take("mtu", int, "a number"),
        required=None if optional is None else not optional,
        accept_ra=card.take("accept-ra", bool, "true or false"),
    )
    for key, family in (("dhcp4", "ipv4"), ("dhcp6", "ipv6")):
        if card.take(key, bool, "true or false"):
            found.ask(family)
        _overrides(card, f"{key}-overrides", found)
    if gateway := card.take("gateway6", str, "an address"):
        found.route("::/0", gateway, None, on_link=None)
    _routes(card, found)
    if servers := card.table("nameservers"):
        found.dns, found.search = servers.texts("addresses"), servers.texts("search")
        servers.end("addresses, search")
    return found


def _overrides(card: Table, key: str, found: Card) -> None:
    if overrides := card.table(key):
        metric = overrides.take("route-metric", int, "a number")
        if metric is not None and found.metric not in (None, metric):
            overrides.problem("route-metric", f"is {found.metric} for IPv4: expected the same")
        found.metric = metric if found.metric is None else found.metric
        for name in _DHCP:
            overrides.already(name, True)
        overrides.already("use-dns", "nameservers" not in card.data)
        overrides.end("route-metric", _DHCP_WAYS)


def _routes(card: Table, found: Card) -> None:
    """Routes; one of scope `link` to a gateway says that the gateway is reached directly."""
    direct: dict[str, Table] = {}
    by_gateway: list[Table] = []
    for route in card.tables("routes"):
        to = str(route.data.get("to")).removesuffix("/32").removesuffix("/128")
        if route.data.get("scope") == "link" and "via" not in route.data:
            direct[to] = route
        else:
            by_gateway.append(route)
    reached = {_route(route, found, direct) for route in by_gateway}
    for to, route in direct.items():
        if to not in reached:
            route.problem("scope", f"expected a route by {to} too: it is for gateways alone")


def _route(route: Table, found: Card, direct: Mapping[str, Table]) -> str | None:
    """Add a route; its gateway."""
    route.already("scope", "global")
    route.already("type", "unicast")
    route.already("table", 254)
    to = route.take("to", str, "a network")
    via = route.take("via", str, "an address")
    metric = route.take("metric", int, "a number")
    on_link = route.take("on-link", bool, "true or false") or via in direct
    route.end("to, via, metric, on-link", _ROUTE_WAYS)
    if to is None or via is None:
        route.problem(None, "expected 'to' and 'via'")
    else:
        found.route(to, via, metric, on_link=on_link or None)
    return via


def _wifi(card: Table) -> None:
    translation = card.translation
    place = card.place("regulatory-domain")
    if country := card.take("regulatory-domain", str, "a country such as DE"):
        translation.put(("wifi", "country"), country.upper(), place)
    elif "country" not in translation.data.get("wifi", {}):
        why = "expected the country where the gateway stands, for the channels: 'DE'"
        card.problem("regulatory-domain", why)
        translation.put(("wifi", "country"), "DE", place)  # it is reported already
    points = card.table("access-points")
    if points is None:
        card.problem(None, "expected access-points")
        return
    networks = list(translation.data.get("wifi", {}).get("networks", []))
    if networks:
        points.note(None, "all wireless cards join the networks of all of them")
    for ssid, point in points.entries():
        networks.append(_network(ssid, point))
        translation.places[("wifi", "networks", len(networks) - 1)] = point.place()
    translation.put(("wifi", "networks"), networks, points.place())


def _network(ssid: str, point: Table) -> dict[str, object]:
    password = point.text("password", "a text")
    security = "wpa2" if password else "open"
    if auth := point.table("auth"):
        management = auth.take("key-management", str, "none, psk or sae") or "psk"
        password = auth.text("password", "a text") or password
        if management in _SECURITY:
            security = _SECURITY[management]
            auth.end("key-management, password")
        else:
            is_login = management.startswith(("eap", "802.1x"))
            known = f"expected one of {', '.join(_SECURITY)}"
            auth.problem("key-management", f"{known}{_LOGIN if is_login else ''}")
            security, password = "open", None
    network: dict[str, object] = {"ssid": ssid, "security": security}
    if password:
        network["passphrase_file"] = SecretStr(password)
    point.already("mode", "infrastructure")
    network["hidden"] = bool(point.take("hidden", bool, "true or false"))
    point.end("password, auth, hidden", _POINT_WAYS)
    return network
