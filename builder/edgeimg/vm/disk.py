"""The disk a guest may write to: a thin layer over the unchanged image."""

from __future__ import annotations

from pathlib import Path

from edgeimg.cache.store import Store, key, sha256_file
from edgeimg.image.raw import unpack
from edgeimg.tools import Toolbox

SIZE = 4 << 30
"""Bytes of the guest's disk: a small eMMC. Free space behind the image becomes its data."""


def raw_image(image: Path, store: Store) -> Path:
    """The raw disk image of `image`, a `.raw` or `.raw.zst` file.

    A compressed one is unpacked into the cache once for its content, with its zeros as holes.
    Raises ImageError when it is damaged, HostError when the disk is full.
    """
    if image.suffix != ".zst":
        return image

    return store.derived(key("raw", "1", sha256_file(image)), lambda path: unpack(image, path))


def overlay(raw: Path, path: Path, *, toolbox: Toolbox) -> None:
    """Make the qcow2 file `path` of SIZE bytes over `raw`, which is only read.

    Raises ToolError when qemu-img fails.
    """
    size = max(SIZE, raw.stat().st_size)
    toolbox.run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.resolve(), path,
        str(size), timeout=60,
    )  # fmt: skip
