"""What is allowed in settings and seldom meant: warnings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edgeimg.provision import zones
from edgeimg.provision.networks import overlapping
from edgeimg.provision.settings import Settings

_RANGES = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}
"""K3s' own networks, unless its configuration says otherwise."""
_FREE = {
    4: [f"172.{number}.0.0/16" for number in range(20, 32)] + ["10.142.0.0/16", "10.143.0.0/16"],
    6: [f"fd{number}::/56" for number in range(10, 99)],
}
"""Networks to suggest, by version of IP: more than a gateway has addresses in."""


def warnings(settings: Settings) -> list[str]:
    """A line for each setting that is allowed, and that would not do what people expect."""
    return [*_ranges(settings), *_clock(settings)]


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
    networks = settings.network.values()
    for number, (option, default) in enumerate(_RANGES.items()):
        configured = settings.k3s.config.get(option, default) if settings.k3s else default
        ranges = configured if isinstance(configured, tuple) else str(configured).split(",")
        for address, network in overlapping(networks, (str(one).strip() for one in ranges)):
            free = [
                other for other in _FREE[6 if ":" in network else 4]
                if not overlapping(networks, [other])
            ]  # fmt: skip
            found.append(
                f"{address} overlaps {network}, which K3s uses unless the recipe's [k3s.config] "
                f'sets {option}: write there {option} = "{free[number]}", for all gateways of '
                "the cluster"
            )
    return found
