"""What of containers is not in the image: devices, and images that only the cluster names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgeimg.check.findings import Finding, finding
from edgeimg.workloads.operators import Unseen

_NAMED = 3
"""Devices that a message names."""


@dataclass(frozen=True, kw_only=True)
class Absent:
    """What the build could not bring."""

    devices: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """Paths that container images have, by the recipe's key and the image's name."""
    unseen: Mapping[str, Sequence[Unseen]] = field(default_factory=dict)
    """By the name of the workload."""


def check(absent: Absent) -> list[Finding]:
    """One finding for each container image with devices, and each kind of object."""
    return [*_devices(absent), *_unseen(absent)]


def _devices(absent: Absent) -> Iterator[Finding]:
    for (key, image), paths in absent.devices.items():
        if paths:
            named = ", ".join(f"/{path}" for path in paths[:_NAMED])
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            yield finding(
                "left-out-device",
                key,
                f"{image}: devices and pipes of the container image are left out: {named}{more}",
                "nothing to do where the runtime makes them; otherwise give the container a device",
                item=image,
            )


def _unseen(absent: Absent) -> Iterator[Finding]:
    for workload, kinds in absent.unseen.items():
        key = f"workloads.{workload}"
        for one in kinds:
            if one.chart:
                yield finding(
                    "chart-download",
                    f"{key}.manifests",
                    f"K3s would download the chart {one.kind.rpartition('/')[2]} from {one.chart}",
                    "render it (`helm template`) and put its objects into the manifests",
                    item=one.kind,
                )
            else:
                yield finding(
                    "unseen-images",
                    f"{key}.images",
                    f"no manifest names the images of pods that {one.kind} may start",
                    "name them in 'images' of the workload, or accept it with a comment",
                    item=one.kind,
                )
