"""A card, VLAN, bond or bridge of NoCloud's network-config while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeimg.provision.translation import Table

DEFAULTS = {"default": None, "0.0.0.0/0": None, "::/0": None}
"""How the default route is written."""
BY_HAND = (
    "write a file for it by hand: edgeimg/network/NAME.network, and NAME.netdev for a device, on "
    "the config partition"
)
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb",
         "balance-alb")  # fmt: skip
"""Of bonds, by their numbers in Linux."""


@dataclass(kw_only=True)
class Card:
    """A table of [network.*] that grows; None and empty lists are left out of the settings."""

    interface: str | None = None
    mac: str | None = None
    vlan: int | None = None
    on: str | None = None
    bond: list[str] = field(default_factory=list)
    bond_mode: str | None = None
    bridge: list[str] = field(default_factory=list)
    dhcp: bool | str = False
    addresses: list[str] = field(default_factory=list)
    gateway: str | None = None
    on_link: bool | None = None
    metric: int | None = None
    mtu: int | None = None
    required: bool | None = None
    accept_ra: bool | None = None
    routes: list[dict[str, str | int | bool | None]] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)

    def ask(self, family: str) -> None:
        """Ask for addresses of "ipv4" or "ipv6", beside what is asked for already."""
        self.dhcp = family if self.dhcp in (False, family) else True

    def route(self, to: str, via: str, metric: int | None, *, on_link: bool | None) -> None:
        """A route; the first default one of IPv4 is the gateway."""
        if to in DEFAULTS and ":" not in via and metric is None and self.gateway in (None, via):
            self.gateway, self.on_link = via, on_link or self.on_link
            return
        everywhere = "::/0" if ":" in via else "0.0.0.0/0"
        to = everywhere if to in DEFAULTS else to
        route = {"to": to, "via": via, "metric": metric, "on_link": on_link}
        if route not in self.routes:
            self.routes.append(route)


def bond_mode(table: Table, key: str) -> str | None:
    """The mode of a bond, by name or number."""
    mode = table.text(key, "a mode such as active-backup")
    return MODES[int(mode)] if mode and mode in map(str, range(len(MODES))) else mode


def note_bridge(table: Table) -> None:
    """A bridge of several cards that does not say `stp` has it elsewhere."""
    table.note(None, "is without STP here, which netplan turns on: cables must not make a loop")


def put(table: Table, name: str, card: Card, *, member: bool) -> None:
    """Into the settings, without what is missing.

    netplan leaves router advertisements to networkd, which accepts them, also beside fixed
    addresses; a member of a bond or a bridge has no addresses.
    """
    if card.accept_ra is None and not member:
        card.accept_ra = True
    if card.dns and card.dhcp:
        table.note(None, "its name servers take the place of those of DHCP")
    if name in table.translation.data.get("network", {}):
        table.problem(None, f"a card of the name {name} is there already")
        return
    values = {key: value for key, value in vars(card).items() if value not in (None, [])}
    table.translation.put(("network", name), values, table.place())
