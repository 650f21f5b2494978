"""The project's environment for a measurement, whatever Python starts it; standard library only.

A script imports this module before any other: it is then run again in `.venv`, which is made when
needed, with its programs on PATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from builder.bootstrap import run_in_environment  # noqa: E402

_ENVIRONMENT = ROOT / ".venv"
_FIRST = os.environ.get("PATH", "").split(os.pathsep)[0]
if Path(sys.prefix) != _ENVIRONMENT or Path(_FIRST) != _ENVIRONMENT / "bin":
    run_in_environment("python", sys.argv, extra="dev")
