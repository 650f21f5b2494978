"""Finds the disk for a name of the command line, and checks that it stays the same disk."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeimg import process
from edgeimg.errors import HostError, ToolError
from edgeimg.flash import devices, kernel, signatures, target
from edgeimg.flash.devices import Device
from edgeimg.image.partitions import SECTOR
from edgeimg.text.json_text import JsonObject

_TIMEOUT = 60.0
SYS = Path("/sys/dev/block")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A target that may be written to, with the identity by which it is recognised later."""

    argument: Path
    """As it was named."""
    real: Path
    """Where that leads."""
    device: Device | None
    """None for a file."""
    identity: tuple[str, ...]
    """Of a device: number, size, serial, which appearance it is; of a file: inode, last change."""
    exists: bool = True

    @property
    def sector(self) -> int:
        """Bytes of a logical sector; of a file those that an image counts in."""
        return self.device.sector if self.device else SECTOR

    @property
    def title(self) -> str:
        """Name, model, serial number and size, for people."""
        if self.device is None:
            return f"{self.argument} (a file)"
        facts = (self.device.model, self.device.serial, human(self.device.size))
        return f"{self.argument}: {', '.join(filter(None, facts))}"


def lsblk() -> JsonObject:
    """All block devices as lsblk(8) lists them, completed by `kernel` and `signatures`.

    Raises HostError without it.
    """
    try:
        out = process.run(
            ["lsblk", "--json", "--bytes", "--output", ",".join(devices.COLUMNS)], timeout=_TIMEOUT
        )
        listing: JsonObject = json.loads(out)
    except (ToolError, ValueError) as error:
        raise HostError(
            f"the disks of this machine cannot be listed: {error}",
            hint="lsblk of util-linux is needed, on Linux",
        ) from None
    listing = signatures.complete(listing, devices.is_member)
    return kernel.complete(listing, kernel.loops(), kernel.foreign_mounts(), emmcs=kernel.emmcs())


def choose(
    argument: Path, size: int, *, fixed: bool, listing: Callable[[], JsonObject] = lsblk
) -> Chosen:
    """The target that `argument` names, for an image of `size` bytes.

    `fixed` allows disks that are not removable. Raises HostError with every reason against the
    disk, or with the permission that the caller lacks.
    """
    real = Path(os.path.realpath(argument))
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return _new_file(argument, real)
    except OSError as error:
        raise target.refusal(argument, error) from None
    if stat.S_ISREG(mode):
        return _file(argument, real, size)
    if not stat.S_ISBLK(mode):
        raise HostError(f"{argument} is neither a disk nor a file")
    document = listing()
    device = next((disk for disk in devices.disks(document) if disk.path == str(real)), None)
    if device is None:
        whole_disk = devices.disk_of(document, str(real))
        raise HostError(
            f"{argument} is not a whole disk",
            hint=f"it is on {whole_disk}: name that disk"
            if whole_disk
            else "`edgeimg devices` lists them",
        )
    if reasons := refusals(device, size, fixed=fixed):
        raise HostError(
            "\n  ".join([f"{argument} ({device.name}) is not written to:", *reasons]),
            hint="`edgeimg devices` lists the possible disks",
        )
    _require_writable(argument, real)
    return Chosen(argument=argument, real=real, device=device, identity=identity(device, real))


def refusals(device: Device, size: int, *, fixed: bool) -> list[str]:
    """Every reason against writing an image of `size` bytes to a disk; none when it may be."""
    reasons = list(device.dangers)
    if 0 < device.size < size:
        reasons.append(f"it holds {human(device.size)}, the image needs {human(size)}")
    if not (device.removable or fixed):
        reasons.append("it is not removable: add --fixed to confirm")
    return reasons


def _new_file(argument: Path, real: Path) -> Chosen:
    if str(real).startswith("/dev/"):
        raise HostError(f"there is no device {argument}", hint="`edgeimg devices` lists them")
    if not real.parent.is_dir():
        raise HostError(f"cannot make {argument}: there is no directory {real.parent}")
    _require_writable(argument, real.parent)
    return Chosen(argument=argument, real=real, device=None, identity=(), exists=False)


def _file(argument: Path, real: Path, size: int) -> Chosen:
    if real.stat().st_size < size:
        raise HostError(
            f"{argument} is a file of {real.stat().st_size} bytes, the image needs {size}",
            hint="name a file that is not there: it is made as large as it has to be",
        )
    _require_writable(argument, real)
    return Chosen(argument=argument, real=real, device=None, identity=_inode(real))


def may_write(path: Path) -> bool:
    """Whether the caller has the right to."""
    return os.access(path, os.W_OK, effective_ids=True)


def _require_writable(argument: Path, real: Path) -> None:
    """Raises HostError if the caller may not write to it, before any question."""
    if not may_write(real):
        raise target.refusal(argument, PermissionError(errno.EACCES, ""))


def still_the_same(chosen: Chosen, *, listing: Callable[[], JsonObject] = lsblk) -> None:
    """Raises HostError when the name leads to another disk or file than before."""
    if not chosen.exists:
        return
    real = Path(os.path.realpath(chosen.argument))
    if real != chosen.real:
        raise HostError(f"{chosen.argument} led to {chosen.real}, and leads to {real} now")
    if chosen.device is None:
        if _inode(real) != chosen.identity:
            raise HostError(f"{chosen.argument} is another file than before")
        return
    now = next((disk for disk in devices.disks(listing()) if disk.path == str(real)), None)
    if now is None or identity(now, real) != chosen.identity:
        raise HostError(
            f"{chosen.argument} is another disk than the one that was shown",
            hint="look at it again with `edgeimg devices`",
        )
    if now.dangers:
        raise HostError("\n  ".join([f"{chosen.argument} is in use now:", *now.dangers]))


def human(size: int) -> str:
    """Bytes as they are printed on media."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def identity(device: Device, real: Path) -> tuple[str, str, str, str, str, str]:
    """Identity of one disk, and of one insertion of it, among disks with the same name."""
    try:
        # Counts up whenever a medium or a device appears (Linux 5.15, genhd.c).
        sequence = (SYS / device.number / "diskseq").read_text().strip()
    except OSError:
        sequence = ""
    return (str(real), device.number, str(device.size), device.model, device.serial, sequence)


def _inode(path: Path) -> tuple[str, ...]:
    facts = path.stat()
    return (str(facts.st_dev), str(facts.st_ino), str(facts.st_ctime_ns))
