"""The coverage of a machine: each device, its drivers, and the firmware that they ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from edgeimg.compose.firmware import matching
from edgeimg.hardware import known
from edgeimg.hardware.drivers import Drivers, Root
from edgeimg.hardware.machine import UNKNOWN, Device, Machine

State = Literal["ok", "driver missing", "firmware missing", "left out", "no driver", "unclear"]
"""What the image has for a device.

`left out`: the only drivers are for devices that a gateway has no use for. `no driver`: the
kernel package has none as a module; many devices need none. `unclear`: the description has too few
fields of the device.
"""
GAPS: tuple[State, ...] = ("driver missing", "firmware missing")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The firmware that one module asks for."""

    module: str
    files: tuple[str, ...]
    """Names below /usr/lib/firmware; some are globs."""
    present: tuple[str, ...]
    """Those of `files` that the root has."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that the root lacks. A module asks for the files of all chips that it drives."""
        return tuple(name for name in self.files if name not in self.present)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One device."""

    device: Device
    state: State
    image: tuple[str, ...]
    """Modules of the root that claim it."""
    debian: tuple[str, ...]
    """Modules of the kernel package that claim it, and those that they load by name."""
    wanted: tuple[str, ...]
    """Modules of `debian` that would close the gap; empty without a gap."""
    firmware: tuple[Asked, ...]
    builtin: str = ""
    """The driver that the machine uses, when it is part of the kernel."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """All devices of a machine, and the image that was compared."""

    machine: Machine
    image: str
    """Name of the recipe's image, or of the image file."""
    arch: str
    kernel: str
    """Of the lock's kernel package."""
    image_kernel: str
    rows: tuple[Row, ...]

    @property
    def gaps(self) -> tuple[Row, ...]:
        """The devices that lack a driver or all firmware of it."""
        return tuple(row for row in self.rows if row.state in GAPS)


def cover(
    machine: Machine,
    root: Root,
    debian: Drivers,
    *,
    excluded: Collection[str],
    image: str,
    arch: str,
) -> Coverage:
    """The coverage of `machine` by `root`; `excluded` are the modules for devices that a
    gateway has no use for.

    Pure. Firmware is that of the modules of `debian`, which also has the root's when both are of
    one kernel.
    """
    return Coverage(
        machine=machine,
        image=image,
        arch=arch,
        kernel=debian.kernel,
        image_kernel=root.kernel,
        rows=tuple(_row(device, root, debian, excluded) for device in machine.devices),
    )


def _row(device: Device, root: Root, debian: Drivers, excluded: Collection[str]) -> Row:
    held = _named(device, root.claims.modules(device.modalias))
    claims = _named(device, debian.claims.modules(device.modalias))
    # A driver of another device registers some: what is bound to them is only seen on the machine.
    claims = claims or tuple(name for name in device.modules if name in debian.modules)
    claims = (*claims, *(one for one in known.companions(claims) if one in debian.modules))
    held = (*held, *(one for one in claims if one in root.modules and one not in held))
    builtin = next((name for name in device.modules if name in debian.builtin), "")
    wanted = _missing(claims, held)
    useful = tuple(name for name in wanted if name not in excluded or known.network(debian, name))
    firmware = tuple(
        _asked(name, root, debian)
        for name in dict.fromkeys(
            helper
            for driver in (*held, *(useful or wanted))
            for helper in _asking(driver, device, debian)
        )
    )
    state: State = "ok"
    if wanted:
        state = "driver missing" if useful else "left out"
    elif not held:
        unclear = UNKNOWN in device.modalias and device.bus == "usb"
        state = "ok" if builtin else "unclear" if unclear else "no driver"
    elif any(asked.files and not asked.present for asked in firmware):
        state = "firmware missing"
    return Row(
        device=device,
        state=state,
        image=held,
        debian=claims,
        wanted=useful or wanted,
        firmware=firmware,
        builtin=builtin,
    )


def _named(device: Device, claims: tuple[str, ...]) -> tuple[str, ...]:
    """Of several modules that may claim a device of few known fields, those that it names."""
    if UNKNOWN not in device.modalias or device.bus not in ("pci", "usb"):
        return claims
    return tuple(name for name in claims if name in device.modules) or claims


def _missing(claims: tuple[str, ...], held: tuple[str, ...]) -> tuple[str, ...]:
    """What closes the gap: all drivers when the root has no driver, else what a driver loads."""
    if not held:
        return claims
    return tuple(name for name in known.companions(held) if name in claims and name not in held)


def _asking(driver: str, device: Device, debian: Drivers) -> tuple[str, ...]:
    """The driver and the modules of its family that it depends on, as far as they ask for firmware.

    Of other modules that it depends on, all devices of their kind ask: cfg80211's list of
    countries.
    """
    if driver not in debian.modules:
        return ()
    family = debian.modules[driver].family
    seen, waiting = dict[str, None](), [driver]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in debian.modules:
            continue
        if family.startswith(debian.modules[name].family):
            seen[name] = None
            waiting += debian.modules[name].depends
    asking = tuple(sorted(name for name in seen if debian.modules[name].firmware))
    return known.helpers(driver, device.modalias, asking)


def _asked(module: str, root: Root, debian: Drivers) -> Asked:
    files = debian.modules[module].firmware
    present = tuple(name for name in files if matching(name, root.firmware))
    return Asked(module=module, files=files, present=present)
