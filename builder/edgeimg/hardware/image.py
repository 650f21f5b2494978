"""The drivers and the firmware in the root of a finished image."""

from __future__ import annotations

from pathlib import Path

from edgeimg.compose.firmware import DIRECTORY
from edgeimg.errors import ImageError
from edgeimg.hardware import drivers
from edgeimg.hardware.drivers import Root
from edgeimg.pack import erofs
from edgeimg.tools import Toolbox

DIRECTORIES = 2000
"""Of firmware: Debian's packages together have some 150."""


def read_root(root: Path, kernel: str, toolbox: Toolbox) -> Root:
    """What the root file system `root` (EROFS) has for the kernel `kernel`.

    Raises ImageError when it has no index of modules, or too many directories of firmware.
    """
    modules = f"usr/lib/modules/{kernel}"
    listing = erofs.read(root, f"{modules}/modules.dep", toolbox=toolbox)
    return drivers.of_listing(
        kernel,
        erofs.read(root, f"{modules}/modules.alias", toolbox=toolbox),
        [line.partition(":")[0] for line in listing.decode("utf-8", "replace").splitlines()],
        _firmware(root, toolbox),
    )


def _firmware(root: Path, toolbox: Toolbox) -> list[str]:
    found: list[str] = []
    waiting, seen = [""], 0
    while waiting:
        place, seen = waiting.pop(), seen + 1
        if seen > DIRECTORIES:
            raise ImageError(f"the root has more than {DIRECTORIES} directories of firmware")
        entries = erofs.names(root, f"{DIRECTORY}/{place}".rstrip("/"), toolbox=toolbox)
        found += [place + name for name, directory in entries.items() if not directory]
        waiting += [f"{place}{name}/" for name, directory in entries.items() if directory]
    return found
