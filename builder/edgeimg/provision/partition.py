"""The config partition of a disk or its image: made anew with a gateway's files, and read back.

Nothing is mounted. The whole file system is written again, so what an earlier provisioning left
there, secrets in free clusters too, is gone, and a damaged one is whole. Files that are not
edgeimg's stay.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from edgeimg.arch import ARCHITECTURES
from edgeimg.cache import partials
from edgeimg.errors import ArchiveError, ImageError, ProvisionError, ToolError
from edgeimg.flash import target
from edgeimg.image.partitions import Partition
from edgeimg.pack import disk, esp, fat
from edgeimg.progress import Progress, Silent
from edgeimg.provision.rendering import DIRECTORY
from edgeimg.recipe.tables import Image
from edgeimg.tools import Toolbox

_CHUNK = 1 << 20
_FIRST = "flash it first: `edgeimg flash`"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_VERITY_TYPES = {arch.verity_type for arch in ARCHITECTURES}


def write(
    image: Path,
    wanted: Mapping[str, bytes],
    *,
    toolbox: Toolbox,
    unchanged: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> None:
    """Put files (path on the config partition → content) into a raw disk image, or onto a disk.

    They replace all that an earlier provisioning put there. What was written is read back and
    compared. `progress` gets a warning when the old file system cannot be read, so that files of
    the user are lost. `unchanged` is called once the disk is held, and raises when it is another
    one than was meant. Raises ImageError when edgeimg did not make it, BudgetError when they do
    not fit, ToolError, HostError, ProvisionError when they are not there afterwards.
    """
    with (
        target.opened(image) as opened,
        partials.directory("edgeimg-provision-", _memory()) as scratch,
    ):
        unchanged()
        config = find(image, toolbox=toolbox)
        sources = _others(image, config, scratch / "others", toolbox, progress)
        for number, (path, content) in enumerate(sorted(wanted.items())):
            sources[path] = scratch / str(number)
            sources[path].write_bytes(content)
        _make_anew(opened, image, config, sources, scratch / "config.fat", toolbox)
        for path, content in wanted.items():
            if read(image, path, toolbox=toolbox) != content:
                raise differs(f"{path} on {image}")


def add(image: Path, files: Mapping[str, Path], *, toolbox: Toolbox) -> None:
    """Add files (path on the config partition → file of the host) to those of a raw disk image.

    What is unfinished lies beside the image, in a directory of its owner's. Raises as `write`.
    """
    with (
        target.opened(image) as opened,
        partials.directory("edgeimg-config-", image.parent) as scratch,
    ):
        config = find(image, toolbox=toolbox)
        others = _others(image, config, scratch / "others", toolbox, None)
        sources = {**others, **files}
        _make_anew(opened, image, config, sources, scratch / "config.fat", toolbox)


def _make_anew(
    opened: target.Target, image: Path, config: Partition, sources: Mapping[str, Path],
    made: Path, toolbox: Toolbox,
) -> None:  # fmt: skip
    fat.make(
        made, sources, size=config.size, bits=16, label="CONFIG",
        volume_id=int(config.uuid[:8], 16), epoch=Image().epoch, sector=opened.sector,
        toolbox=toolbox,
    )  # fmt: skip
    if not _replace(opened, made, config.start):
        raise differs(f"the config partition of {image}")


def differs(what: str) -> ProvisionError:
    """What was written does not read back."""
    return ProvisionError(
        f"{what} is not what was written", hint="the disk is broken: take another"
    )


def find(image: Path, *, toolbox: Toolbox) -> Partition:
    """Where the config partition is. Raises ImageError for a disk that edgeimg did not make."""
    try:
        parts = disk.read(image, name=str(image), toolbox=toolbox).partitions
    except ImageError as error:
        raise ImageError(error.message, hint=_FIRST) from error
    config = [
        part for part in parts if part.label == "config" and part.type == disk.BASIC_DATA_TYPE
    ]
    types = {part.type for part in parts}
    parts_of_ours = {
        "config partition (basic data)": bool(config),
        "EFI system partition": disk.ESP_TYPE in types,
        "partition with hashes of a root (root-verity)": bool(types & _VERITY_TYPES),
    }
    if missing := [what for what, is_there in parts_of_ours.items() if not is_there]:
        raise ImageError(
            f"{image.name} is not a disk that edgeimg made: it has no {', no '.join(missing)}",
            hint=_FIRST,
        )
    return config[0]


def read(image: Path, path: str, *, toolbox: Toolbox) -> bytes:
    """A file of an image's config partition. Raises ToolError when it is not there."""
    config = find(image, toolbox=toolbox)
    with partials.directory("edgeimg-provision-", _memory()) as scratch:
        output = scratch / PurePosixPath(path).name
        fat.extract(image, path, output, offset=config.start, size=config.size, toolbox=toolbox)
        return output.read_bytes()


def _memory() -> Path:
    """A directory that is on no disk where there is one, for files that hold secrets."""
    return Path(_SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else tempfile.gettempdir())


def _others(
    image: Path, config: Partition, folder: Path, toolbox: Toolbox, progress: Progress | None
) -> dict[str, Path]:
    """Files that are not edgeimg's, copied out: path on the partition → file. At least the README.

    Only the README when the file system cannot be read; `progress` then gets a warning.
    """
    folder.mkdir()
    try:
        found = fat.extract_all(
            image, folder, offset=config.start, size=config.size, toolbox=toolbox
        )
    except (ToolError, ImageError, ArchiveError) as error:
        found = {}
        (progress or Silent()).note(
            f"the config partition cannot be read and is formatted: your own files on it are lost "
            f"({error.message.splitlines()[0]})"
        )
    readme = folder / "README.txt"
    readme.write_bytes(esp.CONFIG_README)
    kept = {
        path: source for path, source in found.items()
        if not path.lower().startswith(f"{DIRECTORY}/")
    }  # fmt: skip
    return {readme.name: readme, **kept}


def _replace(opened: target.Target, made: Path, offset: int) -> bool:
    """Write `made` to a medium from `offset` on, where they differ; whether it reads back so."""
    changed = []
    with made.open("rb") as source:
        while chunk := source.read(_CHUNK):
            place = source.tell() - len(chunk)
            if opened.read(offset + place, len(chunk)) != chunk:
                opened.write(offset + place, chunk)
                changed.append(place)
        opened.sync()
        for place in changed:
            source.seek(place)
            chunk = source.read(_CHUNK)
            if opened.read(offset + place, len(chunk)) != chunk:
                return False
    return True
