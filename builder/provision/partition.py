"""The config partition of a disk or its image: made anew with a gateway's files, and read back.

Nothing is mounted. The whole file system is written again, so what an earlier provisioning left
there, secrets in free clusters too, is gone, and a damaged one is whole. Files that are not
edgeimg's stay.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.errors import ImageError, ProvisionError, ToolError
from builder.pack import disk, esp, fat
from builder.pack.disk import Partition
from builder.provision.rendering import DIRECTORY
from builder.recipe.tables import Image
from builder.store import disk_errors
from builder.tools import Toolbox

_CHUNK = 1 << 20
_TIMEOUT = 120.0
_SHARED_MEMORY = "/dev/shm"  # noqa: S108


def write(image: Path, wanted: Mapping[str, bytes], *, toolbox: Toolbox) -> None:
    """Put files (path on the config partition → content) into a raw disk image, or onto a disk.

    They replace all that an earlier provisioning put there. What was written is read back and
    compared. Raises ImageError when there is no config partition, BudgetError when they do not fit,
    ToolError, HostError, ProvisionError when they are not there afterwards.
    """
    config = find(image, toolbox=toolbox)
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-", dir=_memory()) as name:
        scratch = Path(name)
        sources = _others(image, config, scratch / "others", toolbox)
        for number, (path, content) in enumerate(sorted(wanted.items())):
            sources[path] = scratch / str(number)
            sources[path].write_bytes(content)
        made = scratch / "config.fat"
        fat.make(
            made, sources, size=config.size, bits=16, label="CONFIG",
            volume_id=int(config.uuid[:8], 16), epoch=Image().epoch, toolbox=toolbox,
        )  # fmt: skip
        _replace(image, made, config.start)
    for path, content in wanted.items():
        if read(image, path, toolbox=toolbox) != content:
            raise ProvisionError(
                f"{path} on {image} is not what was written",
                hint="the disk is broken: take another",
            )


def find(image: Path, *, toolbox: Toolbox) -> Partition:
    """Where the config partition is. Raises ImageError when there is none."""
    layout = disk.read(image, toolbox=toolbox)
    config = next((part for part in layout.partitions if part.label == "config"), None)
    if config is None:
        raise ImageError(
            f"{image.name} has no config partition: it is no image of edgeimg",
            hint="flash it first: `edgeimg flash`",
        )
    return config


def read(image: Path, path: str, *, toolbox: Toolbox) -> bytes:
    """A file of an image's config partition. Raises ToolError when it is not there."""
    config = find(image, toolbox=toolbox)
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-", dir=_memory()) as name:
        output = Path(name, PurePosixPath(path).name)
        fat.extract(image, path, output, offset=config.start, toolbox=toolbox)
        return output.read_bytes()


def _memory() -> str | None:
    """A directory that is on no disk, for files that hold secrets: a killed edgeimg leaves them."""
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None


def _others(image: Path, config: Partition, folder: Path, toolbox: Toolbox) -> dict[str, Path]:
    """Files that are not edgeimg's, copied out: path on the partition → file. At least the README.

    Of a file system that cannot be read, nothing.
    """
    folder.mkdir()
    place = f"{image}@@{config.start}"
    try:
        toolbox.run("mcopy", "-s", "-n", "-Q", "-i", place, "::/", str(folder), timeout=_TIMEOUT)
    except ToolError:
        found = {}
    else:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found = {str(path.relative_to(folder)): path for path in paths}
    readme = folder / "README.txt"
    readme.write_bytes(esp.CONFIG_README)
    kept = {
        path: source for path, source in found.items()
        if not path.lower().startswith(f"{DIRECTORY}/")
    }  # fmt: skip
    return {readme.name: readme, **kept}


def _replace(image: Path, made: Path, offset: int) -> None:
    """Write `made` over `image` from `offset` on, where they differ."""
    with disk_errors(image), made.open("rb") as source, image.open("r+b") as target:
        position = offset
        while chunk := source.read(_CHUNK):
            target.seek(position)
            if target.read(len(chunk)) != chunk:
                target.seek(position)
                target.write(chunk)
            position += len(chunk)
        target.flush()
        os.fsync(target.fileno())
        # What is read back comes from the medium, not from this computer's memory.
        os.posix_fadvise(target.fileno(), offset, position - offset, os.POSIX_FADV_DONTNEED)
