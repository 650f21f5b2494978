"""A mounted config partition: a gateway's files put into it as files, and read back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import ProvisionError
from edgeimg.provision import partition
from edgeimg.provision.rendering import DIRECTORY, NAMES, SECRET, SIGNED


def check(folder: Path) -> None:
    """Raises ProvisionError when `folder` has a directory `edgeimg` that is somebody else's."""
    ours = folder / DIRECTORY
    with disk_errors(folder):
        found = sorted(path.name for path in ours.iterdir()) if ours.is_dir() else []
    # README* and names that begin with a dot are passed over, as the gateway does.
    known = {*NAMES, *SIGNED}
    others = [name for name in found if name not in known and not name.startswith((".", "README"))]
    if others:
        more = " and more" if len(others) > 3 else ""
        raise ProvisionError(
            f"{ours} holds what no provisioning put there: {', '.join(others[:3])}{more}",
            hint="name the directory where the partition CONFIG is mounted; "
            "what is not a gateway's there, remove",
        )


def write(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Put files (path on the config partition → content) into `folder`.

    They replace all that an earlier provisioning put there; secrets are overwritten before they
    are removed. Raises HostError when the folder is full or may not be written to, ProvisionError
    when the files are not there afterwards.
    """
    with disk_errors(folder):
        for name in (*SECRET, *SIGNED):
            _wipe(folder / DIRECTORY / name)
        for name in (*NAMES, *SIGNED):
            _remove(folder / DIRECTORY / name)
        for path, content in wanted.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
                # What is read back comes from the medium, not from this computer's memory.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for directory in (folder, *(Path(at) for at, _, _ in os.walk(folder / DIRECTORY))):
            _sync(directory)
        for path, content in wanted.items():
            if (folder / path).read_bytes() != content:
                raise partition.differs(f"{path} in {folder}")


def _wipe(path: Path) -> None:
    if path.is_file():
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
