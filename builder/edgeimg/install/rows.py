"""The row of a fleet that is this machine, and whether the machine is installed already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeimg.errors import HostError
from edgeimg.flash.devices import Device
from edgeimg.fleet.ledger import Entry, Read
from edgeimg.fleet.reading import Fleet, Gateway
from edgeimg.install.machine import Machine
from edgeimg.install.rules import Sign


@dataclass(frozen=True, kw_only=True)
class Found:
    """A gateway, and what says that it is this machine."""

    gateway: Gateway
    signs: tuple[Sign, ...]


def find(
    fleet: Fleet, signs: Sequence[Sign], machine: Machine, device: Device
) -> tuple[Found, ...]:
    """The gateways that this machine with this disk may be, in the order of the file."""
    found = []
    for gateway in fleet.gateways:
        matching = tuple(sign for sign in signs if _holds(sign, gateway, machine, device))
        if matching:
            found.append(Found(gateway=gateway, signs=matching))
    return tuple(found)


def only(fleet: Fleet, signs: Sequence[Sign], machine: Machine, device: Device) -> Found:
    """The one gateway that it is. Raises HostError for none, and for several."""
    found = find(fleet, signs, machine, device)
    if len(found) != 1:
        known = [f"{one.gateway.name}: by {', '.join(one.signs)}" for one in found] or [
            f"the machine: {machine.title}",
            f"the disk: serial number {device.serial or 'unknown'}",
        ]
        count = f"{len(found)} rows of {fleet.path} are" if found else f"no row of {fleet.path} is"
        raise HostError(
            "\n  ".join([f"{count} this machine, expected one: nothing was written", *known]),
            hint="set serial, mac or disk_serial of its row",
        )
    return found[0]


def require_disk(gateway: Gateway, device: Device, *, arch: str) -> None:
    """Raises HostError when the gateway has another disk, or is of another architecture.

    `arch` is that of the image; empty when it is unknown.
    """
    box = gateway.box
    if box.disk_serial is not None and box.disk_serial != device.serial:
        raise HostError(
            f"{gateway.name} has the disk {box.disk_serial}, and the serial number of "
            f"{device.path} is {device.serial or 'unknown'}: nothing was written",
            hint="correct disk_serial of its row, or choose another disk",
        )
    if box.arch is not None and arch and box.arch != arch:
        raise HostError(
            f"{gateway.name} is {box.arch}, and the image is {arch}: nothing was written",
            hint="choose another image or another row",
        )


def installed(
    read: Read, device: Device, *, digest: str, gateway: str = "", settings: str = ""
) -> Entry | None:
    """The ledger's entry when this disk got the same image and settings last; else None."""
    if not device.serial:
        return None
    last = next((run for run in reversed(read.runs()) if run.serial == device.serial), None)
    if last is None or last.result != "ok":
        return None
    return (
        last if (last.digest, last.gateway, last.settings) == (digest, gateway, settings) else None
    )


def _holds(sign: Sign, gateway: Gateway, machine: Machine, device: Device) -> bool:
    match sign:
        case "dmi-serial":
            return bool(machine.serial) and gateway.box.serial == machine.serial
        case "mac":
            cards = (card.mac for card in gateway.settings.network.values())
            macs = {mac.lower() for mac in (gateway.mac, *cards) if mac}
            return bool(macs & set(machine.macs))
        case "disk-serial":
            return bool(device.serial) and gateway.box.disk_serial == device.serial
