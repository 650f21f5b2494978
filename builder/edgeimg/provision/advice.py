"""What is allowed in settings and seldom meant: warnings."""

from __future__ import annotations

from edgeimg.provision.network import overlapping
from edgeimg.provision.settings import Settings

_RANGES = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}
"""K3s' own networks, unless its configuration says otherwise."""


def warnings(settings: Settings) -> list[str]:
    """A line for each address in the networks of pods and services: K3s could not route to both."""
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
