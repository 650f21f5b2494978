"""What is allowed in settings and seldom meant: warnings."""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from edgeimg.provision import zones
from edgeimg.provision.k3s import server_host
from edgeimg.provision.networks import overlapping
from edgeimg.provision.settings import Settings

_COMPONENTS = ("coredns", "local-storage", "metrics-server", "runtimes", "servicelb", "traefik")
"""What K3s brings, by the names of --disable."""
_RANGES = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}
"""K3s' own networks, unless its configuration says otherwise."""
_FREE = {
    4: [f"172.{number}.0.0/16" for number in range(20, 32)] + ["10.142.0.0/16", "10.143.0.0/16"],
    6: [f"fd{number}::/56" for number in range(10, 99)],
}
"""Networks to suggest, by version of IP: more than a gateway has addresses in."""


def warnings(settings: Settings) -> list[str]:
    """A line for each setting that is allowed, and that would not do what people expect."""
    return [
        *_ranges(settings), *_tunnel(settings), *_clock(settings), *_cards(settings),
        *_server(settings), *_disabled(settings), *_within(settings),
    ]  # fmt: skip


def _cards(settings: Settings) -> Iterator[str]:
    """Cards that lead to the same places: which of them is used is chance."""
    cards = {name: one for name, one in settings.network.items() if not one.is_pattern}
    for name, one in settings.network.items():
        for server in one.dns:
            if ipaddress.ip_address(server).is_loopback:
                yield f"network.{name}: dns: {server} is the gateway itself, which pods cannot ask"
    for (first, one), (second, other) in itertools.combinations(cards.items(), 2):
        if one.is_way_out and other.is_way_out and one.route_metric == other.route_metric:
            yield (
                f"network.{first} and network.{second} may both have a default route, and it is "
                "chance which is used: the one to use second needs metric = 2048"
            )
        networks = [str(ipaddress.ip_interface(text).network) for text in other.addresses]
        for address, network in overlapping(one.addresses, networks):
            yield (
                f"network.{first}: {address} is in {network} of network.{second}: answers may "
                "leave by the other card; use one card, or a bond of both"
            )


def _server(settings: Settings) -> Iterator[str]:
    server = settings.k3s.server if settings.k3s else None
    here = [str(ipaddress.ip_interface(text).ip) for text in _addresses(settings)]
    if server and settings.k3s and settings.k3s.role == "agent" and server_host(server) in here:
        yield f"k3s.server: {server} is this gateway, and an agent needs another one"
    if server and not re.search(r":\d+/?$", server):
        yield f"k3s.server: without a port K3s asks port 443: {server.rstrip('/')}:6443 is usual"


def _disabled(settings: Settings) -> Iterator[str]:
    """Components that do not exist are disabled without a word."""
    config = settings.k3s.config if settings.k3s else {}
    values = [config.get(option) for option in ("disable", "disable+")]
    texts = [text for one in values for text in (one if isinstance(one, tuple) else (one,)) if text]
    for name in (part.strip() for text in texts for part in str(text).split(",")):
        close = difflib.get_close_matches(name, _COMPONENTS, n=1, cutoff=0.75)
        if close and name not in _COMPONENTS:
            yield f"k3s.config.disable: K3s has no {name!r}; did you mean '{close[0]}'?"


def _clock(settings: Settings) -> list[str]:
    """A gateway has the rule of its zone alone, which may not hold yet."""
    zone, today = settings.timezone, datetime.now(UTC).replace(hour=0, minute=0, second=0)
    today = today.replace(microsecond=0)
    wrong = zones.differs(zone, today) if zone else None
    if zone is None or wrong is None:
        return []
    when = "now" if wrong <= today + timedelta(days=1) else f"on {wrong:%Y-%m-%d}, not before,"
    return [
        f"timezone: the clock of the gateway will be wrong from {wrong:%Y-%m-%d %H:00} UTC on: it "
        f"keeps one rule, {zones.rule(zone)!r}, which {zone} does not follow then: set "
        f"{zones.fixed(zone, wrong)!r} {when} and provision again at the next change"
    ]


def _ranges(settings: Settings) -> list[str]:
    """Addresses in the networks of pods and services: K3s could not route to both."""
    found: list[str] = []
    addresses = _addresses(settings)
    if settings.wireguard:
        addresses += settings.wireguard.networks()
    addresses += _destinations(settings)
    for number, option in enumerate(_RANGES):
        for address, network in overlapping(dict.fromkeys(addresses), _range(settings, option)):
            free = [
                other for other in _FREE[6 if ":" in network else 4]
                if not overlapping(addresses, [other])
            ]  # fmt: skip
            example = f'{option} = "{free[number]}"' if len(free) > number else option
            found.append(
                f"{address} overlaps {network}, which K3s uses unless the recipe's [k3s.config] "
                f"sets {option}: write there {example}, for all gateways of the cluster"
            )
    return found


def _range(settings: Settings, option: str) -> list[str]:
    """The networks of pods or of services, as far as the settings know."""
    configured = (settings.k3s.config if settings.k3s else {}).get(option, _RANGES[option])
    ranges = configured if isinstance(configured, tuple) else str(configured).split(",")
    return [str(one).strip() for one in ranges]


def _destinations(settings: Settings) -> list[str]:
    """Addresses outside of its own networks that a gateway connects to: servers and routes."""
    server = settings.k3s.server if settings.k3s else None
    hosts = [server_host(server)] if server else []
    found = []
    for one in settings.network.values():
        hosts += [*one.dns, *([one.gateway] if one.gateway else [])]
        found += [route.to for route in one.routes if not route.to.endswith("/0")]
    own = [ipaddress.ip_interface(text).network for text in _addresses(settings)]
    for host in (*hosts, *settings.ntp):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue  # a name
        if not any(address in network for network in own):
            found.append(host)
    return found


def _within(settings: Settings) -> Iterator[str]:
    """Conflicts of cluster networks: CIDRs that overlap, a DNS address outside its CIDR."""
    pods, services = (_range(settings, option) for option in _RANGES)
    for first, second in overlapping(pods, services):
        yield f"k3s.config: cluster-cidr {first} overlaps service-cidr {second}: set them apart"
    config = settings.k3s.config if settings.k3s else {}
    dns = config.get("cluster-dns", "")
    for server in dns if isinstance(dns, tuple) else str(dns).split(","):
        if server and not overlapping([str(server).strip()], services):
            yield f"k3s.config: cluster-dns {server} is not in service-cidr {', '.join(services)}"


def _tunnel(settings: Settings) -> list[str]:
    """Networks of cards that are behind a peer, too: their packets would go there."""
    if settings.wireguard is None:
        return []
    return [
        f"wireguard: {network} overlaps {span}, the network of a card: packets to hosts on the "
        "cable may go through the tunnel. Give one of them other addresses"
        for network, span in overlapping(settings.wireguard.networks(), _addresses(settings))
    ]


def _addresses(settings: Settings) -> list[str]:
    return [address for one in settings.network.values() for address in one.addresses]
