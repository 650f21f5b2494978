"""A machine by its own description: values that every format of a description becomes."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "*"
"""Stands for a field of a modalias that the description does not have."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, or one interface of a USB device."""

    modalias: str
    """As the kernel writes it (`pci:v00008086d…`). Fields of `pci:` and `usb:` that the
    description lacks are UNKNOWN."""
    place: str = ""
    """Its address or path on the machine; empty when the description has none."""
    title: str = ""
    """What the description calls it; may be empty."""
    modules: tuple[str, ...] = ()
    """The driver and the modules that the machine names for it, with underscores."""

    @property
    def bus(self) -> str:
        """The part of the modalias before the colon: `pci`, `usb`, `of`, `acpi`."""
        return self.modalias.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """All that a description says."""

    devices: tuple[Device, ...]
    title: str = ""
    """Maker and model; may be empty."""
    compatible: tuple[str, ...] = ()
    """The board's own `compatible`, of the root of its device tree."""
    arch: str = ""
    """The machine's name of its architecture, as `uname -m` prints it; may be empty."""
    facts: tuple[tuple[str, str], ...] = ()
    """Other facts in their order: memory, disks, firmware."""
    unread: tuple[int, ...] = ()
    """Numbers of the lines that fit no format."""
