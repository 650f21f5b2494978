"""What a run with a time limit leaves out, on a slow host or with empty caches.

EDGEIMG_TEST_BOOT_UNTIL, in seconds since 1970, is when the last guest starts. `.ci/run` sets it.
Level images-arm is left out when it would end less than 10 minutes before: guests start no more
then, and neither does anything that needs the stand-in for ARM64 or ARMv7, unless it is compiled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

UNTIL = "EDGEIMG_TEST_BOOT_UNTIL"
LEFT_OUT = f"left out: {UNTIL} is over"
"""The reason of a skipped test. Strict mode allows it (tests/strict.py)."""
OVER = "0"
MARGIN = 600.0


def is_over(environment: Mapping[str, str] | None = None, seconds: float = 0) -> bool:
    """Whether no guest starts any more in `seconds` from now."""
    environment = os.environ if environment is None else environment
    return time.time() + seconds > float(environment.get(UNTIL, "inf"))
