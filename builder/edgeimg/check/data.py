"""The data files beside this module: what the checks expect, and why."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache
def read(name: str) -> dict[str, Any]:
    """The data file `NAME.toml`."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text())
