"""What is provisioned: an image, a copy of one, a disk, or a mounted config partition."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from edgeimg.cache import partials
from edgeimg.cache.store import disk_errors
from edgeimg.errors import HostError, ImageError, ProvisionError
from edgeimg.flash import safety
from edgeimg.flash.safety import Chosen
from edgeimg.image import blockmap, bmap
from edgeimg.image.blockmap import BlockMap
from edgeimg.image.raw import unpack
from edgeimg.pack import publish
from edgeimg.progress import Progress
from edgeimg.provision import folder, partition
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a gateway's files go to."""

    kind: Literal["image", "copy", "disk", "folder"]
    path: Path
    output: Path | None = None
    """The copy that is made of an image."""
    disk: Chosen | None = None

    @property
    def title(self) -> str:
        """What a person recognises."""
        return self.disk.title if self.disk else str(self.output or self.path)

    @property
    def is_unmounted(self) -> bool:
        """A directory where nothing is mounted: what is written there stays on this computer."""
        return self.kind == "folder" and not os.path.ismount(self.path.resolve())


def choose(path: Path, output: Path | None) -> Target:
    """What `path` is, and that it may be written to; nothing is written yet.

    Raises ImageError, HostError, ProvisionError with what to do instead.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise HostError(f"cannot provision {path}: {error.strerror}") from None
    if stat.S_ISBLK(kind):
        if output:
            raise HostError("--output is for images: a disk is provisioned in its place")
        return Target(kind="disk", path=path, disk=_disk(path))
    if stat.S_ISDIR(kind):
        if output:
            raise HostError("--output is for images: a directory is provisioned in its place")
        folder.check(path)
        return Target(kind="folder", path=path)
    if not stat.S_ISREG(kind):
        raise ImageError(f"{path} is neither an image, a disk nor a directory")
    if output is None and path.suffix == ".zst":
        raise ImageError(
            f"{path.name} is compressed: a provisioned copy is made of it",
            hint="name it with --output, such as --output box-1.raw.zst",
        )
    if output is None and not os.access(path, os.R_OK | os.W_OK):
        raise HostError(f"you may not write to {path}", hint="make a copy with --output")
    if output is not None:
        if output.suffix not in (".raw", ".img", ".zst"):
            raise ImageError(
                f"{output.name}: expected a name that ends in .raw, .img or .raw.zst",
                hint="`edgeimg flash` goes by it",
            )
        if output.exists():
            raise HostError(f"{output} is there already", hint="remove it, or choose another name")
    return Target(kind="copy" if output else "image", path=path, output=output)


def _disk(path: Path) -> Chosen:
    """Any disk may be one: only the config partition is written to, where there is edgeimg's."""
    try:
        chosen = safety.choose(path, 0, fixed=True)
    except HostError as error:
        hint = "unmount what is mounted (`umount`); or name the directory where it is mounted"
        raise HostError(error.message, hint=hint) from None
    if not os.access(chosen.real, os.R_OK | os.W_OK):
        raise HostError(
            f"you may not write to {path}",
            hint="use sudo; or mount its partition CONFIG, and name that directory",
        )
    return chosen


def write(
    target: Target,
    files: Mapping[str, bytes],
    *,
    toolbox: Toolbox | None,
    progress: Progress | None = None,
) -> None:
    """Put the files (path on the config partition → content) there, and read them back.

    `toolbox` is not needed for a folder. `progress` gets warnings. Raises ImageError,
    HostError, ToolError, ProvisionError.
    """
    if target.kind == "folder":
        folder.write(target.path, files)
        return
    if toolbox is None:
        raise ProvisionError("the tools for disk images are missing")
    if target.disk is not None:
        same = partial(safety.still_the_same, target.disk)
        partition.write(target.disk.real, files, toolbox=toolbox, unchanged=same, progress=progress)
    elif target.output is not None:

        def provision(raw: Path) -> None:
            partition.write(raw, files, toolbox=toolbox, progress=progress)

        copy(target.path, target.output, provision, toolbox=toolbox)
    else:
        partition.find(target.path, toolbox=toolbox)  # what is no image stays as it is
        private(target.path)
        partition.write(target.path, files, toolbox=toolbox, progress=progress)
        _block_map(target.path, target.path, target.path, toolbox)


def copy(image: Path, output: Path, change: Callable[[Path], None], *, toolbox: Toolbox) -> None:
    """A copy of an image, readable by its owner alone, with a block map if the image has one.

    `change` alters the config partition of the raw copy. Raises ImageError, HostError, ToolError,
    and what `change` raises.
    """
    with disk_errors(output), partials.file(output.with_name(f"{output.name}.raw")) as raw:
        if image.suffix == ".zst":
            unpack(image, raw)
        else:
            sparse.clone(image, raw)
        change(raw)
        _block_map(image, raw, output, toolbox)
        if output.suffix == ".zst":
            with partials.file(output) as packed:
                publish.compress(raw, packed, toolbox=toolbox)
                packed.chmod(0o600)
                packed.rename(output)
        else:
            raw.rename(output)


def _block_map(image: Path, raw: Path, output: Path, toolbox: Toolbox) -> None:
    """What `edgeimg flash` reads beside an image: the original's ranges, and the partition's."""
    source, made = blockmap.beside(image), blockmap.beside(output)
    if not source.is_file():
        return
    described = block_map(raw, blockmap.read(source), toolbox=toolbox)
    private(made)
    made.write_bytes(described)


def private(path: Path) -> None:
    """Make a file that only its owner may read, or have it so, before secrets come into it.

    The digests of a block map count: a short secret can be guessed from them.
    """
    with disk_errors(path):
        path.touch(mode=0o600)
        with contextlib.suppress(PermissionError):  # a file system that knows no permissions
            path.chmod(0o600)


def block_map(raw: Path, original: BlockMap, *, toolbox: Toolbox) -> bytes:
    """The block map of a provisioned image: the original's ranges, and the config partition's."""
    config = partition.find(raw, toolbox=toolbox)
    used = sparse.used(raw, offset=config.start, size=config.size)
    spans = [(extent.start, extent.end) for extent in original.extents]
    return bmap.document(raw, bmap.merged([*spans, (config.start, config.start + used)]))
