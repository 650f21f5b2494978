"""What must hold between gateways: nothing that is there twice, and clusters that have a server."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import SecretStr

from edgeimg.fleet.rows import Row, value_at, with_value
from edgeimg.provision.addresses import mac
from edgeimg.provision.k3s import server_host
from edgeimg.provision.settings import Settings

SERVER = ("k3s", "server")
_ROLLOUT = ("rollout", "token_file")
_WIREGUARD = ("wireguard", "private_key_file")
_PORT = 6443
Claim = tuple[str, str, tuple[str, ...]]


def role(row: Row) -> str:
    """What a row says that its gateway is; empty where its image says it."""
    role = value_at(row.data, ("k3s", "role"))
    return role if isinstance(role, str) else ""


def joined(rows: Sequence[Row]) -> list[Row]:
    """The rows, with the only server of the fleet where agents name none."""
    first = [row for row in rows if _founds(row)]
    address = _address(first[0]) if len(first) == 1 else None
    if address is None:
        return list(rows)
    url = f"https://[{address}]:{_PORT}" if ":" in address else f"https://{address}:{_PORT}"
    return [
        Row(data=with_value(row.data, SERVER, url), places=row.places, start=row.start)
        if role(row) == "agent" and value_at(row.data, SERVER) is None else row
        for row in rows
    ]  # fmt: skip


def lonely(rows: Sequence[Row]) -> list[Row]:
    """Agents that belong to no server."""
    return [row for row in rows if role(row) == "agent" and value_at(row.data, SERVER) is None]


def duplicates(rows: Sequence[Row]) -> list[str]:
    """A line for everything that two gateways claim for themselves.

    The rows need not be right: what is wrong in them is told elsewhere.
    """
    seen: dict[tuple[str, str], Row] = {}
    problems = []
    for row in rows:
        for kind, value, location in _claims(row.data):
            other = seen.setdefault((kind, value.lower()), row)
            if other is not row:
                problems.append(
                    f"{row.place(location)}: {'.'.join(location)}: {value} is that of "
                    f"{_name(other)} already (line {other.place(location).line})"
                )
    return problems


def shared_tokens(gateways: Sequence[tuple[Row, Settings]]) -> list[str]:
    """A line for every gateway with the roll-out token of another one."""
    tokens = ((row, one.rollout.token if one.rollout else None) for row, one in gateways)
    return _shared(tokens, _ROLLOUT, "token")


def shared_keys(gateways: Sequence[tuple[Row, Settings]]) -> list[str]:
    """A line for every gateway with the private key (WireGuard) of another one."""
    keys = ((row, one.wireguard.private_key if one.wireguard else None) for row, one in gateways)
    return _shared(keys, _WIREGUARD, "private key")


def _shared(
    secrets: Iterable[tuple[Row, SecretStr | None]], location: tuple[str, ...], what: str
) -> list[str]:
    seen: dict[str, Row] = {}
    problems = []
    for row, secret in secrets:
        if secret is None:
            continue
        other = seen.setdefault(secret.get_secret_value(), row)
        if other is not row:
            problems.append(
                f"{row.place(location)}: {'.'.join(location)}: is the {what} of {_name(other)}, "
                "too: each gateway has its own"
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
        place = row.place(SERVER)
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
    return role(row) == "server" and value_at(row.data, SERVER) is None


def _address(row: Row) -> str | None:
    """The first fixed address of a row."""
    return next((value for kind, value, _ in _claims(row.data) if kind == "address"), None)


def _name(row: Row) -> str:
    return str(row.data.get("hostname") or "another gateway")


def _claims(data: Mapping[str, object]) -> Iterator[Claim]:
    """What only one gateway can have: a kind of thing, its value, and the key that says so."""
    for key in ("hostname", "disk_serial", "serial"):
        yield from _texts(key, data.get(key), (key,))
    macs = [_mac(data.get("mac"))]
    for card, network in _tables(data.get("network")):
        location = ("network", card)
        if _mac(network.get("mac")) not in macs:
            macs.append(_mac(network.get("mac")))
            yield from _texts("mac", macs[-1], (*location, "mac"))
        for address in _list(network.get("addresses")):
            yield from _ip("address", address, (*location, "addresses"))
    tunnel = data.get("wireguard")
    for address in _list(tunnel.get("addresses")) if isinstance(tunnel, dict) else ():
        yield from _ip("address in the tunnel", address, ("wireguard", "addresses"))
    yield from _texts("mac", macs[0], ("mac",))
    k3s = data.get("k3s")
    if isinstance(k3s, dict):
        yield from _texts("node", k3s.get("node_name"), ("k3s", "node_name"))
        for address in _list(k3s.get("node_ips")):
            yield from _ip("node address", address, ("k3s", "node_ips"))


def _mac(value: object) -> object:
    """In one form, however it was written."""
    try:
        return mac(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _texts(kind: str, value: object, location: tuple[str, ...]) -> Iterator[Claim]:
    if isinstance(value, str) and value:
        yield kind, value, location


def _ip(kind: str, value: object, location: tuple[str, ...]) -> Iterator[Claim]:
    with contextlib.suppress(ValueError):
        yield kind, str(ipaddress.ip_interface(str(value)).ip), location


def _tables(value: object) -> Iterator[tuple[str, dict[str, object]]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, dict):
            yield str(name), inner


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
