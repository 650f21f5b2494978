"""UEFI boot entry of the installed disk, and BootNext, written by efibootmgr(8).

The entry holds the device path of the boot partition (UEFI 2.10, 3.1.2 and 10.3.5.1). BootNext
names it for the next boot only; BootOrder is not changed.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.errors import HostError
from edgeimg.flash.devices import Device

VARIABLES = Path("/sys/firmware/efi/efivars")
_PROGRAM = "efibootmgr"
_PLACES = ("EFIVARFS_PATH", "LIBEFIVAR_OPS")
"""Environment of libefivar: where the variables are, and how they are read."""
_ENTRY = re.compile(r"Boot([0-9A-F]{4})\*? ([^\t]*)")
_PARTITION = 1
"""The boot partition is the first one of every image (edgeimg.pack.disk)."""
_TIMEOUT = 60.0


def is_possible() -> bool:
    """Whether this machine has UEFI variables."""
    place = Path(os.environ.get("EFIVARFS_PATH", VARIABLES))  # as libefivar looks for them
    return place.is_dir() and any(place.iterdir())


def start_next(device: Device, arch: Arch) -> None:
    """Make a boot entry for `device`, and set BootNext to it. An earlier entry is replaced.

    Raises HostError without efibootmgr, ToolError when a variable cannot be written.
    """
    if shutil.which(_PROGRAM) is None:
        raise HostError(f"there is no {_PROGRAM}", hint=f"install the package {_PROGRAM}")
    label = f"edgeimg {device.serial or device.path}"
    for number in _entries(label):
        _run("--bootnum", number, "--delete-bootnum")
    loader = rf"\EFI\BOOT\BOOT{arch.efi.upper()}.EFI"
    _run(
        "--create-only", "--disk", device.path, "--part", str(_PARTITION), "--label", label,
        "--loader", loader,
    )  # fmt: skip
    numbers = _entries(label)
    if not numbers:
        raise HostError(
            "the boot entry was not saved", hint="choose the disk in the firmware's menu"
        )
    _run("--bootnext", numbers[-1])


def _entries(label: str) -> list[str]:
    """The numbers of the entries with that name."""
    found = map(_ENTRY.match, _run().decode(errors="replace").splitlines())
    return [match[1] for match in found if match and match[2].rstrip() == label]


def _run(*options: str) -> bytes:
    env = process.environment({name: os.environ[name] for name in _PLACES if name in os.environ})
    return process.run([_PROGRAM, *options], timeout=_TIMEOUT, env=env, name=_PROGRAM)
