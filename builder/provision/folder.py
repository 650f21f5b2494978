"""A mounted config partition: a gateway's files put into it as files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from builder.provision.rendering import DIRECTORY, SECRET
from builder.store import disk_errors


def write(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Put files (path on the config partition → content) into `folder`.

    They replace all that an earlier provisioning put there; secrets are overwritten before they
    are removed. Raises HostError when the folder is full or may not be written to.
    """
    with disk_errors(folder):
        for name in SECRET:
            _wipe(folder / DIRECTORY / name)
        shutil.rmtree(folder / DIRECTORY, ignore_errors=True)
        for path, content in wanted.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)


def _wipe(path: Path) -> None:
    if path.is_file():
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
