"""The seconds before a disk is written, in which somebody may stop it."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable

from edgeimg.errors import FlashError

_SECOND = 1.0


def wait(seconds: int, say: Callable[[str], None], pressed: Callable[[float], bool]) -> None:
    """Count down and say so: each of the last ten seconds, and every tenth before.

    `pressed` waits as many seconds for a key, and returns whether one came. Raises FlashError when
    it did.
    """
    for left in range(seconds, 0, -1):
        if left <= 10 or left % 10 == 0 or left == seconds:
            say(f"writing in {left} s; Enter or Ctrl-C stops it")
        if pressed(_SECOND):
            raise FlashError("nothing was written: it was stopped")


def key_pressed(seconds: float) -> bool:
    """Whether a line is typed on the terminal within `seconds`; without a terminal, it waits."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if ready:
        sys.stdin.readline()  # it is no answer to what is asked next
    return bool(ready)
