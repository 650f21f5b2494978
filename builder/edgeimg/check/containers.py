"""Parts of containers that the image lacks: devices, and images that only the cluster names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgeimg.check.findings import Finding, finding
from edgeimg.workloads.operators import Unseen
from edgeimg.workloads.volumes import Volume

_MOST = 3
"""Devices that a message names."""


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Parts that the build could not add to the image."""

    devices: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """Paths that container images have, by the recipe's key and the image's name."""
    unseen: Mapping[str, Sequence[Unseen]] = field(default_factory=dict)
    """By the name of the workload."""
    volumes: Mapping[str, Sequence[Volume]] = field(default_factory=dict)
    """By the name of the workload: volumes whose programs and modules the root may lack."""
    drivers: Sequence[str] = ()
    """CSI drivers that the workloads register."""


def check(absent: Absent) -> list[Finding]:
    """One finding for each container image with devices, and each kind of object."""
    return [*_devices(absent), *_unseen(absent)]


def _devices(absent: Absent) -> Iterator[Finding]:
    for (key, image), paths in absent.devices.items():
        if paths:
            listing = ", ".join(f"/{path}" for path in paths[:_MOST])
            more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
            yield finding(
                "left-out-device",
                key,
                f"{image}: devices and pipes of the container image are left out: {listing}{more}",
                "nothing to do where the runtime makes them; otherwise give the container a device",
                item=image,
            )


def _unseen(absent: Absent) -> Iterator[Finding]:
    for workload, kinds in absent.unseen.items():
        key = f"workloads.{workload}"
        for unseen in kinds:
            if unseen.chart:
                yield finding(
                    "chart-download",
                    f"{key}.manifests",
                    f"K3s would download the chart {unseen.kind.rpartition('/')[2]} "
                    f"from {unseen.chart}",
                    "render it (`helm template`) and put its objects into the manifests",
                    item=unseen.kind,
                )
            else:
                yield finding(
                    "unseen-images",
                    f"{key}.images",
                    f"no manifest names the images of pods that {unseen.kind} may start",
                    "name them in 'images' of the workload, or accept it with a comment",
                    item=unseen.kind,
                )
