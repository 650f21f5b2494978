"""The config partition of a disk image: files put in and read back, without mounting anything."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.errors import ImageError
from builder.pack import disk, fat
from builder.tools import Toolbox


def write(image: Path, wanted: Mapping[str, bytes], *, toolbox: Toolbox) -> None:
    """Put files (path on the config partition → content) into a raw disk image, in its place.

    Raises ImageError when it has no config partition, ToolError when they do not fit.
    """
    layout = disk.read(image, toolbox=toolbox)
    config = next((part for part in layout.partitions if part.label == "config"), None)
    if config is None:
        raise ImageError(f"{image.name} has no config partition: it is no image of edgeimg")
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-") as name:
        sources = {}
        for number, (path, content) in enumerate(sorted(wanted.items())):
            sources[path] = Path(name, str(number))
            sources[path].write_bytes(content)
        fat.add(image, sources, offset=config.start, toolbox=toolbox)


def read(image: Path, path: str, *, toolbox: Toolbox) -> bytes:
    """A file of an image's config partition. Raises ToolError when it is not there."""
    config = disk.read(image, toolbox=toolbox)["config"]
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-") as name:
        output = Path(name, PurePosixPath(path).name)
        fat.extract(image, path, output, offset=config.start, toolbox=toolbox)
        return output.read_bytes()
