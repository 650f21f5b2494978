"""The project that `edgeimg init` starts: written, commented, ready to be locked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgeimg import builtin
from edgeimg.recipe.model import schema

_OVERLAY_NOTE = """\
Files below this directory go into the image, at the same place in its root:
usr/lib/sysctl.d/50-mine.conf becomes /usr/lib/sysctl.d/50-mine.conf.
They become root's, with mode 0755 when executable and 0644 otherwise.
Directories with nothing in them are left out; tmpfiles.d makes such ones on the gateway.
"""


def write(directory: Path) -> list[Path]:
    """Write the files that are not there yet below `directory`; returns what was written."""
    files = {
        directory / "recipes/gateway.toml": _default("gateway.toml"),
        directory / "recipes/gateway.lock.toml": _default("gateway.lock.toml"),
        directory / "recipes/updates.toml": _default("updates.toml"),
        directory / "recipes/recipe.schema.json": json.dumps(schema(), indent=2) + "\n",
        directory / "overlays/mine/usr/share/doc/overlay.txt": _OVERLAY_NOTE,
    }
    written = [path for path, text in files.items() if _write_new(path, text)]
    for name in ("overlays/base", "overlays/services", "overlays/updates", "recipes/services"):
        if not (directory / name).exists():
            shutil.copytree(builtin.directory(name), directory / name, symlinks=True)
            written.append(directory / name)
    return written


def _default(name: str) -> str:
    return (builtin.directory("recipes") / name).read_text()


def _write_new(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
