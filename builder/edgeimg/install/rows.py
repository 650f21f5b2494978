"""The row of a fleet that is this machine, and what the ledger says of its disk."""

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


def require_match(gateway: Gateway, machine: Machine, device: Device, *, arch: str) -> None:
    """Raises HostError when the row says something else than the machine, its disk or the image.

    `arch` is that of the image. What the machine, or the image, does not say contradicts nothing.
    """
    box = gateway.box
    found = []
    if box.serial is not None and machine.serial and box.serial != machine.serial:
        found.append(f"serial is {box.serial}, and that of the machine is {machine.serial}")
    if box.mac is not None and machine.macs and box.mac.lower() not in machine.macs:
        found.append(f"mac is {box.mac}, and the machine has {', '.join(machine.macs)}")
    if box.disk_serial is not None and box.disk_serial != device.serial:
        serial = device.serial or "unknown"
        found.append(f"disk_serial is {box.disk_serial}, and that of {device.path} is {serial}")
    if box.arch is not None and arch and box.arch != arch:
        found.append(f"arch is {box.arch}, and the image is for {arch}")
    if found:
        head = f"the row of {gateway.name} contradicts this machine: nothing was written"
        raise HostError(
            "\n  ".join([head, *found]), hint="correct the row, or choose another row, disk, image"
        )


def elsewhere(read: Read, gateway: Gateway, device: Device) -> Entry | None:
    """The ledger's entry when this gateway was installed last on another disk; else None.

    A disk without a serial number is another one: nothing says that it is the same.
    """
    last = read.last(gateway.name)
    if last is None or last.result != "ok" or (device.serial and last.serial == device.serial):
        return None
    return last


def require_unused(read: Read, gateway: Gateway, device: Device) -> None:
    """Raises HostError when the gateway is on another disk already: of a twin of this machine."""
    if entry := elsewhere(read, gateway, device):
        raise HostError(
            f"{gateway.name} was installed on {place(entry)} at {entry.time}: nothing was written",
            hint="set again = true in the rules when that disk is gone",
        )


def place(entry: Entry) -> str:
    """The disk of a ledger's entry, for people."""
    return f"the disk {entry.serial}" if entry.serial else f"{entry.device}, by {entry.by}"


def last_run(
    read: Read, device: Device, *, digest: str, gateway: str = "", settings: str = ""
) -> Entry | None:
    """The ledger's last entry about this disk when it is about the same image and settings.

    None without a serial number: `/dev/nvme0n1` is a disk of every machine.
    """
    if not device.serial:
        return None
    last = next((run for run in reversed(read.runs()) if run.serial == device.serial), None)
    if last is None or (last.digest, last.gateway, last.settings) != (digest, gateway, settings):
        return None
    return last


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
