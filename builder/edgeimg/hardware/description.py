"""What the formats of a description collect."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeimg.hardware.machine import Device


@dataclass
class Description:
    """What the formats have found so far."""

    devices: list[Device] = field(default_factory=list)
    compatible: tuple[str, ...] = ()
    facts: list[tuple[str, str]] = field(default_factory=list)
