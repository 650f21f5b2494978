"""What must hold between gateways: nothing that is there twice, and clusters that have a server."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from builder.fleet.columns import Box
from builder.fleet.rows import Row, value_at, with_value
from builder.provision.k3s import server_host
from builder.provision.settings import Settings
from builder.toml_text import Location

_SERVER = ("k3s", "server")
_PORT = 6443


def role(row: Row) -> str:
    """What a row says that its gateway is; empty where its image says it."""
    told = value_at(row.data, ("k3s", "role"))
    return told if isinstance(told, str) else ""


def joined(rows: Sequence[Row]) -> list[Row]:
    """The rows, with the only server of the fleet where agents name none."""
    first = [row for row in rows if _founds(row)]
    address = _address(first[0]) if len(first) == 1 else None
    if address is None:
        return list(rows)
    url = f"https://[{address}]:{_PORT}" if ":" in address else f"https://{address}:{_PORT}"
    return [
        Row(data=with_value(row.data, _SERVER, url), places=row.places, start=row.start)
        if role(row) == "agent" and value_at(row.data, _SERVER) is None else row
        for row in rows
    ]  # fmt: skip


def duplicates(gateways: Sequence[tuple[Row, str, Box, Settings]]) -> list[str]:
    """A line for everything that two gateways claim for themselves."""
    seen: dict[tuple[str, str], tuple[str, Row]] = {}
    problems = []
    for row, name, box, settings in gateways:
        for kind, value, location in dict.fromkeys(_claims(name, box, settings)):
            before, other = seen.setdefault((kind, value.lower()), (name, row))
            if other is not row:
                key = ".".join(map(str, location))
                problems.append(
                    f"{row.place(location)}: {key}: {value} is that of {before} already "
                    f"(line {other.place(location).line})"
                )
    return problems


def clusters(gateways: Sequence[tuple[Row, str, Settings]]) -> list[str]:
    """A line for every agent whose server is an agent, and for servers that nobody belongs to."""
    by_address: dict[str, tuple[str, Settings]] = {}
    for _, name, settings in gateways:
        by_address[name] = (name, settings)
        for one in settings.network.values():
            for address in one.addresses:
                by_address[str(ipaddress.ip_interface(address).ip)] = (name, settings)
    problems, joined_to = [], set()
    agents = False
    for row, name, settings in gateways:
        k3s = settings.k3s
        agents |= bool(k3s and k3s.role == "agent")
        if k3s is None or k3s.server is None:
            continue
        target, other = by_address.get(server_host(k3s.server), ("", settings))
        joined_to.add(target)
        place = row.place(_SERVER)
        if target == name:
            problems.append(f"{place}: k3s.server: is {name} itself")
        elif target and other.k3s and other.k3s.role == "agent":
            problems.append(f"{place}: k3s.server: is {target}, which is an agent, not a server")
    alone = [
        (row, name) for row, name, settings in gateways
        if settings.k3s and settings.k3s.role == "server" and not settings.k3s.server
        and name not in joined_to
    ]  # fmt: skip
    if agents and joined_to != {""}:
        problems += [
            f"{row.place(('k3s', 'role'))}: k3s.role: {name} would be a cluster of its own beside "
            "the others: let it join with k3s.server, or put it into a file of its own"
            for row, name in alone
        ]
    return problems


def _founds(row: Row) -> bool:
    return role(row) == "server" and value_at(row.data, _SERVER) is None


def _address(row: Row) -> str | None:
    """The first fixed address of a row that is not checked yet."""
    networks = row.data.get("network")
    for network in networks.values() if isinstance(networks, dict) else ():
        found = network.get("addresses") if isinstance(network, dict) else None
        if isinstance(found, list) and found:
            try:
                return str(ipaddress.ip_interface(str(found[0])).ip)
            except ValueError:
                return None
    return None


def _claims(name: str, box: Box, settings: Settings) -> Iterator[tuple[str, str, Location]]:
    """What only one gateway can have: a kind of thing, its value, and the key that says so."""
    yield "name", name, ("hostname",)
    if box.disk_serial:
        yield "disk", box.disk_serial, ("disk_serial",)
    if box.serial:
        yield "serial", box.serial, ("serial",)
    macs = {one.mac.lower() for one in settings.network.values() if one.mac}
    if box.mac and box.mac.lower() not in macs:
        yield "mac", box.mac, ("mac",)
    for card, one in settings.network.items():
        if one.mac:
            yield "mac", one.mac, ("network", card, "mac")
        for address in one.addresses:
            ip = str(ipaddress.ip_interface(address).ip)
            yield "address", ip, ("network", card, "addresses")
    if settings.k3s:
        if settings.k3s.node_name:
            yield "node", settings.k3s.node_name, ("k3s", "node_name")
        for address in settings.k3s.node_ips:
            yield "node address", address, ("k3s", "node_ips")
