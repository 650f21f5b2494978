"""The gateway's updater with its files below a directory of a test."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1] / "overlays/updates"


def environment(directory: Path, **more: Path) -> dict[str, str]:
    """Where edgeimg-update and its programs find their files; `more` adds variables."""
    names = {
        "UPDATE_STATE": "state", "UPDATE_SETTINGS": "update.conf", "BOOT_ID": "boot_id",
        "SYSUPDATE": "sysupdate", "BLESS": "bless", "BOOT": "boot", "RUN": "run",
        "OS_RELEASE": "os-release", "TRANSFERS": "transfers", "UPTIME": "uptime",
        "INDEX_TRANSFERS": "rollback-index.d",
    }  # fmt: skip
    return {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "EDGEIMG_LIB": str(ROOT / "usr/lib/edgeimg"),
        **{f"EDGEIMG_{name}": str(directory / path) for name, path in names.items()},
        **{f"EDGEIMG_{name}": str(path) for name, path in more.items()},
    }
