"""The disks of this machine, each with the reasons against it, and the one that rules name."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.errors import HostError
from edgeimg.flash import devices, safety
from edgeimg.flash.devices import Device
from edgeimg.install import contents
from edgeimg.install.rules import Disk
from edgeimg.text.json_text import JsonObject

_NOTHING = "nothing was written"
_HINT = "[disk] of the rules says which disk: serial, model, path, min_size, max_size"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One disk."""

    device: Device
    reasons: tuple[str, ...]
    """Why it is not written to, whatever somebody answers."""
    data: str = ""
    """What is on it; empty for a blank disk, and for one that an interrupted flash has left."""

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
        """What is on it now, for people."""
        return self.data or "empty"

    def to_json(self) -> JsonObject:
        """Plain values, for `--json`."""
        return {
            **self.device.to_json(), "data": self.data, "reasons": self.reasons,
            "eligible": not self.reasons,
        }  # fmt: skip


def look(
    size: int,
    *,
    removable: bool,
    listing: Callable[[], JsonObject] = safety.lsblk,
    data_on: Callable[[Device], str] = contents.data_on,
) -> tuple[Candidate, ...]:
    """All disks, judged for an image of `size` bytes by the rules of `edgeimg flash`.

    Besides, removable disks are refused without `removable`. Raises HostError without lsblk.
    """

    def candidate(device: Device) -> Candidate:
        reasons = safety.refusals(device, size, fixed=True)
        if device.removable and not removable:
            reasons.append("it is removable, and the installer writes to internal disks")
        data = data_on(device) if device.size else ""
        return Candidate(device=device, reasons=tuple(reasons), data=data)

    return tuple(map(candidate, devices.tangible(devices.disks(listing()))))


def choose(candidates: Sequence[Candidate], rules: Disk) -> Candidate:
    """The one disk that fits the rules and may be written to.

    A disk that fits and is refused counts: were it mended, the rules would be ambiguous. Raises
    HostError with every disk and what speaks against it.
    """
    internal = [one for one in candidates if _is_internal(one.device)]
    if rules.only_internal and len(internal) > 1:
        raise _refusal(
            f"{len(internal)} internal disks, expected one: {_NOTHING}", map(_judgement, internal)
        )
    fitting = [one for one in candidates if not _mismatches(one.device, rules)]
    if not fitting:
        lines = [f"{one.title}: {'; '.join(_mismatches(one.device, rules))}" for one in candidates]
        raise _refusal(f"no disk fits the rules: {_NOTHING}", lines or ["there is no disk"])
    if len(fitting) > 1:
        raise _refusal(
            f"{len(fitting)} disks fit the rules, expected one: {_NOTHING}",
            map(_judgement, fitting),
        )
    (only,) = fitting
    if only.reasons:
        raise _refusal(f"{only.title} is not written to:", only.reasons)
    return only


def require_free(candidate: Candidate) -> None:
    """Raises HostError when a disk holds data."""
    if candidate.data:
        raise HostError(
            f"{candidate.title} is not written to:\n  it holds {candidate.data}",
            hint="when all of that may be lost, set erase = true in [disk] of the rules",
        )


def _refusal(head: str, lines: Iterable[str]) -> HostError:
    return HostError("\n  ".join([head, *lines]), hint=_HINT)


def _judgement(candidate: Candidate) -> str:
    return f"{candidate.title}: {'; '.join(candidate.reasons) or 'it may be written to'}"


def _is_internal(device: Device) -> bool:
    return not device.removable and not devices.firmware(device.path)


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
    if device.removable and not rules.removable:
        found.append("it is removable")
    if what := devices.firmware(device.path):
        found.append(f"it is {what}")
    return found
