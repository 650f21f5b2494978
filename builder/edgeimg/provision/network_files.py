"""[network.*] of the settings → files of systemd.network(5) and systemd.netdev(5). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgeimg.provision.network import Network, Route
from edgeimg.provision.networks import master


def texts(networks: Mapping[str, Network]) -> Iterator[tuple[str, str]]:
    """The files, by path; they come before the image's own 80-…

    The first file that matches a card wins, so those of patterns come behind those of one card.
    """
    for name, network in networks.items():
        if network.is_virtual:
            yield f"network/10-{name}.netdev", _device(name, network)
        order = 20 if network.is_pattern else 10
        yield f"network/{order}-{name}.network", _network(name, networks)


def _device(name: str, network: Network) -> str:
    if network.vlan is not None:
        return f"[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={network.vlan}\n"
    if network.bridge:
        return f"[NetDev]\nName={name}\nKind=bridge\n"
    # Without MIIMonitorSec= nobody would notice a cable that is pulled.
    mode = network.bond_mode or "active-backup"
    return f"[NetDev]\nName={name}\nKind=bond\n\n[Bond]\nMode={mode}\nMIIMonitorSec=100ms\n"


def _network(name: str, networks: Mapping[str, Network]) -> str:
    network, over = networks[name], master(name, networks)
    sections = [_match(name, network, over)]
    lines = ["DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=no"] if over else _asks(network)
    if over:
        lines.append(f"{'Bond' if networks[over].bond else 'Bridge'}={over}")
    lines += [f"Address={address}" for address in network.addresses]
    routed = []
    if network.gateway:
        on_link = network.is_on_link(network.gateway, network.on_link)
        if on_link or network.route_metric is not None:
            routed.append(_route(None, network.gateway, network.route_metric, on_link=on_link))
        else:
            lines.append(f"Gateway={network.gateway}")
    lines += [f"DNS={server}" for server in network.dns]
    lines += [f"Domains={' '.join(network.search)}"] if network.search else []
    lines += [f"VLAN={other}" for other, one in networks.items() if one.on == name]
    sections.append("[Network]\n" + _lines(lines))
    sections += routed
    sections += [_further(network, route) for route in network.routes]
    sections += [] if over else _protocols(network)
    mtu = f"MTUBytes={network.mtu}\n" if network.mtu else ""
    required = "routable" if network.is_waited_for and not over else "no"
    sections.append(f"[Link]\n{mtu}RequiredForOnline={required}\n")
    return "\n".join(sections)


def _match(name: str, network: Network, over: str | None) -> str:
    if network.mac is None:
        return f"[Match]\nName={network.interface or name}\n"
    # A card in a bond has the bond's address. A VLAN and a bridge have that of their card.
    key = "PermanentMACAddress" if over else "MACAddress"
    return f"[Match]\n{key}={network.mac}\nKind=!*\n"


def _asks(network: Network) -> list[str]:
    asks = network.asks
    advertised = network.accept_ra if network.accept_ra is not None else asks != "no"
    return [f"DHCP={asks}", f"IPv6AcceptRA={'yes' if advertised else 'no'}"]


def _protocols(network: Network) -> list[str]:
    """What DHCP and router advertisements bring, and where it goes."""
    metric = network.route_metric
    routes = [] if metric is None else [f"RouteMetric={metric}"]
    dns = ["UseDNS=no"] if network.dns else []
    found = []
    if network.asks != "no":
        # As the image's own: the lease survives a restart of networkd.
        own = ["ClientIdentifier=mac", "SendRelease=no", *dns, *routes]
        found = [f"[DHCPv4]\n{_lines(own)}", *(["[DHCPv6]\nUseDNS=no\n"] if dns else [])]
    if routes and network.accept_ra is not False and (network.asks != "no" or network.accept_ra):
        found.append(f"[IPv6AcceptRA]\n{_lines(routes)}")
    return found


def _further(network: Network, route: Route) -> str:
    metric = route.metric
    if metric is None and route.to in ("0.0.0.0/0", "::/0"):
        metric = network.route_metric
    on_link = network.is_on_link(route.via, route.on_link)
    return _route(route.to, route.via, metric, on_link=on_link)


def _route(to: str | None, via: str, metric: int | None, *, on_link: bool) -> str:
    lines = [f"Destination={to}"] if to else []
    lines.append(f"Gateway={via}")
    lines += ["GatewayOnLink=yes"] if on_link else []
    lines += [f"Metric={metric}"] if metric is not None else []
    return "[Route]\n" + _lines(lines)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
