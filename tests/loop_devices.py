"""Loop devices in the place of card readers, by numbers that nobody else uses."""

from __future__ import annotations

import contextlib
import fcntl
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

_LOOP_CTL_REMOVE = 0x4C81
"""linux/loop.h."""


@contextlib.contextmanager
def readers(count: int) -> Iterator[list[Path]]:
    """Readers with nothing in them; gone when the block is left, with what was put in."""
    first = random.randrange(100, 2000) * 8
    slots = [Path(f"/dev/loop{first + number}") for number in range(count)]
    try:
        yield slots
    finally:
        for slot in slots:
            # Those that were never used are no devices.
            subprocess.run(["losetup", "-d", slot], check=False, capture_output=True)
            with Path("/dev/loop-control").open() as control, contextlib.suppress(OSError):
                fcntl.ioctl(control, _LOOP_CTL_REMOVE, int(slot.name.removeprefix("loop")))


def insert(slot: Path, card: Path) -> None:
    """Put a file into a reader."""
    subprocess.run(["losetup", slot, card], check=True)
