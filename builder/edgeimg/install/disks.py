"""The disks of this machine, each with the reasons against it, and the one that rules name."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeimg.errors import HostError
from edgeimg.flash import devices, safety
from edgeimg.flash.devices import Device
from edgeimg.install.rules import Disk

_NOTHING = "nothing was written"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One disk."""

    device: Device
    reasons: tuple[str, ...]
    """Why it is not written to."""

    @property
    def title(self) -> str:
        """Path, model, serial number and size."""
        device = self.device
        facts = (device.model, device.serial, safety.human(device.size))
        return f"{device.path}: {', '.join(filter(None, facts))}"

    @property
    def identity(self) -> tuple[str, ...]:
        """By which it is recognised later."""
        return safety.identity(self.device, Path(self.device.path))

    @property
    def content(self) -> str:
        """What is on it now."""
        return ", ".join(self.device.holds) or "no known content"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {**self.device.to_json(), "reasons": self.reasons, "eligible": not self.reasons}


def look(
    size: int,
    *,
    removable: bool,
    erase: bool,
    listing: Callable[[], dict[str, Any]] = safety.lsblk,
    unknown: Callable[[Device], str] = safety.unknown_data,
) -> tuple[Candidate, ...]:
    """All disks, judged for an image of `size` bytes by the rules of `edgeimg flash`.

    Besides, removable disks are refused without `removable`, and disks with data that edgeimg did
    not write without `erase`. Raises HostError without lsblk.
    """

    def reasons(device: Device) -> tuple[str, ...]:
        found = safety.refusals(device, size, fixed=True)
        if device.removable and not removable:
            found.append("it is removable, and the installer writes to internal disks")
        if not erase and device.size and (data := unknown(device)):
            found.append(f"it holds {data}, which edgeimg did not write")
        return tuple(found)

    return tuple(
        Candidate(device=device, reasons=reasons(device))
        for device in devices.tangible(devices.disks(listing()))
    )


def choose(candidates: Sequence[Candidate], rules: Disk) -> Candidate:
    """The one disk that fits the rules and may be written to.

    A disk that fits and is refused counts: were it mended, the rules would be ambiguous. Raises
    HostError with every disk and what speaks against it.
    """
    fitting = [one for one in candidates if not _mismatches(one.device, rules)]
    if not fitting:
        lines = [f"{one.title}: {'; '.join(_mismatches(one.device, rules))}" for one in candidates]
        raise _refusal(f"no disk fits the rules: {_NOTHING}", lines or ["there is no disk"])
    if len(fitting) > 1:
        lines = [
            f"{one.title}: {'; '.join(one.reasons) or 'it may be written to'}" for one in fitting
        ]
        raise _refusal(f"{len(fitting)} disks fit the rules, expected one: {_NOTHING}", lines)
    (only,) = fitting
    if only.reasons:
        raise _refusal(f"{only.title} is not written to:", only.reasons)
    return only


def _refusal(head: str, lines: Iterable[str]) -> HostError:
    hint = "[disk] of the rules says which disk: serial, model, path, min_size, max_size"
    return HostError("\n  ".join([head, *lines]), hint=hint)


def _mismatches(device: Device, rules: Disk) -> list[str]:
    """Why a disk is not the one that rules mean."""
    found = []
    if rules.serial is not None and device.serial != rules.serial:
        found.append(f"its serial number is {device.serial or 'unknown'}")
    if rules.model is not None and not fnmatch.fnmatchcase(device.model, rules.model):
        found.append(f"its model is {device.model or 'unknown'}")
    if rules.path is not None and os.path.realpath(rules.path) != device.path:
        found.append(f"{rules.path} is another device")
    if rules.min_size is not None and device.size < rules.min_size:
        found.append(f"it has {device.size} bytes, less than {rules.min_size}")
    if rules.max_size is not None and device.size > rules.max_size:
        found.append(f"it has {device.size} bytes, more than {rules.max_size}")
    if rules.only_internal and device.removable:
        found.append("it is removable")
    if rules.only_internal and devices.is_boot_partition(device):
        found.append("it is a boot partition of an eMMC")
    return found
