"""A WireGuard tunnel of NoCloud's network-config, version 2 → [wireguard] of the settings.

https://netplan.readthedocs.io/en/stable/netplan-yaml/#properties-for-device-type-tunnels
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pydantic import SecretStr

from edgeimg.provision.translation import Table
from edgeimg.provision.wireguard import DEVICE

_KNOWN = "mode: wireguard, key, port, addresses, nameservers, mtu, peers, routes"
_KEY = "a key in base64, not the name of a file"


def translate(tunnel: Table, name: str, *, first: bool) -> None:
    """Take everything that is in a tunnel. Problems are remembered in the translation."""
    mode = tunnel.take("mode", str, "wireguard")
    if mode != "wireguard":
        tunnel.problem("mode", "expected wireguard, the only tunnel of gateways")
        tunnel.data.clear()
        return
    if not first:
        tunnel.problem(None, "expected one tunnel: a gateway has one, which may have several peers")
        tunnel.data.clear()
        return
    if name != DEVICE:
        tunnel.note(None, f"the tunnel is called {DEVICE} on a gateway")
    tunnel.without_meaning({"optional": "nothing waits for a tunnel"})
    values: dict[str, object] = {
        "addresses": tunnel.texts("addresses"),
        "listen_port": tunnel.take("port", int, "a number"),
        "mtu": tunnel.take("mtu", int, "a number"),
    }
    keys = tunnel.table("keys")
    private = _key(keys, "private") if keys else _key(tunnel, "key")
    if keys:
        keys.end("private")
    values["private_key_file"] = private
    if servers := tunnel.table("nameservers"):
        values["dns"] = servers.texts("addresses")
        servers.end("addresses")
    peers = [_peer(peer) for peer in tunnel.tables("peers")]
    values["peers"] = peers
    _routes(tunnel, [text for peer in peers for text in _texts(peer["allowed_ips"])])
    tunnel.end(_KNOWN)
    given = {key: value for key, value in values.items() if value not in (None, [])}
    tunnel.translation.put(("wireguard",), given, tunnel.place())


def _peer(peer: Table) -> dict[str, object]:
    keys = peer.table("keys")
    public = keys.text("public", _KEY) if keys else None
    shared = _key(keys, "shared") if keys else None
    if keys:
        keys.end("public, shared")
    values: dict[str, object] = {
        "public_key": public,
        "preshared_key_file": shared,
        "endpoint": peer.take("endpoint", str, "HOST:PORT"),
        "allowed_ips": [_network(text) for text in peer.texts("allowed-ips")],
        "keepalive": peer.take("keepalive", int, "a number"),
    }
    peer.end("keys, endpoint, allowed-ips, keepalive")
    return {key: value for key, value in values.items() if value is not None}


def _key(table: Table, name: str) -> SecretStr | None:
    text = table.text(name, _KEY)
    if text is not None and text.startswith("/"):
        table.problem(name, f"expected {_KEY}: there is no such file on a gateway")
        return None
    return None if text is None else SecretStr(text)


def _network(text: str) -> str:
    """The network of an address: netplan leaves it to the kernel, which drops a host's bits."""
    try:
        return str(ipaddress.ip_interface(text).network)
    except ValueError:
        return text


def _routes(tunnel: Table, allowed: Sequence[str]) -> None:
    """Routes to networks behind a peer, which a gateway has by itself."""
    for route in tunnel.tables("routes"):
        to = str(route.data.get("to"))
        if _network(to) in allowed:
            route.note(None, "has no meaning here: what is in allowed-ips is routed")
        else:
            route.problem("to", "expected a network of allowed-ips, to which routes are made")


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
