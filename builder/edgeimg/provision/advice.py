"""What is allowed in settings and seldom meant: warnings."""

from __future__ import annotations

from datetime import UTC, datetime

from edgeimg.provision import zones
from edgeimg.provision.networks import overlapping
from edgeimg.provision.settings import Settings

_RANGES = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}
"""K3s' own networks, unless its configuration says otherwise."""


def warnings(settings: Settings) -> list[str]:
    """A line for each setting that is allowed, and that would not do what people expect."""
    return [*_ranges(settings), *_clock(settings)]


def _clock(settings: Settings) -> list[str]:
    """A gateway has the rule of its zone alone, which may not hold yet."""
    zone, today = settings.timezone, datetime.now(UTC).replace(hour=0, minute=0, second=0)
    wrong = zones.differs(zone, today.replace(microsecond=0)) if zone else None
    if zone is None or wrong is None:
        return []
    return [
        f"timezone: the clock of the gateway will be wrong from {wrong:%Y-%m-%d %H:00} UTC on: it "
        f"keeps one rule, {zones.rule(zone)!r}, which {zone} does not follow yet: set "
        f"{zones.fixed(zone, wrong)!r}, and provision again at the next change"
    ]


def _ranges(settings: Settings) -> list[str]:
    """Addresses in the networks of pods and services: K3s could not route to both."""
    found: list[str] = []
    for option, default in _RANGES.items():
        said = settings.k3s.config.get(option, default) if settings.k3s else default
        ranges = said if isinstance(said, tuple) else str(said).split(",")
        found += [
            f"{address} overlaps {network}, which K3s uses ({option}): choose another network in "
            f'the recipe\'s [k3s.config], such as {option} = "172.{20 + len(found)}.0.0/16", for '
            "all gateways of the cluster"
            for address, network in overlapping(
                settings.network.values(), (str(one).strip() for one in ranges)
            )
        ]
    return found
