"""Files put onto the config partition of an image as another computer would: one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from edgeimg.errors import ToolError
from edgeimg.tools import Toolbox

TIMEOUT = 60.0


def add(image: Path, files: Mapping[str, Path], *, offset: int, toolbox: Toolbox) -> None:
    """Put files (path in the FAT → file of the host) into the FAT at `offset` of `image`.

    Files of the same name are replaced.
    """
    place = f"{image}@@{offset}"
    for path, source in files.items():
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            with contextlib.suppress(ToolError):  # it is there
                directory = "/".join(parts[:depth])
                toolbox.run("mmd", "-D", "s", "-i", place, f"::/{directory}", timeout=TIMEOUT)
        toolbox.run("mcopy", "-o", "-i", place, str(source), f"::/{path}", timeout=TIMEOUT)
