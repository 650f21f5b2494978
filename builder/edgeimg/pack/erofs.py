"""The root file system: EROFS, made from the canonical tar of a Tree.

Compression and cluster size are decided in docs/adr/0001-root-compression.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

from edgeimg.errors import ImageError, ToolError
from edgeimg.tools import Toolbox

BLOCK = 4096
CLUSTER = 16384
"""Largest physical cluster, bytes: what one random read has to decompress at most."""
WORKERS = 2
TIMEOUT = 1800.0
_ENTRY = re.compile(r"^ *\d+ +(\d+)  (.+)$", re.M)
_DIRECTORY = "2"
"""The type of a directory among the entries (EROFS_FT_DIR)."""


def make(
    tree_tar: Path,
    output: Path,
    *,
    compression: str,
    epoch: int,
    uuid: UUID,
    toolbox: Toolbox,
) -> None:
    """Write the file system image of `tree_tar` to `output`, a multiple of 4 KiB long.

    `compression` is an argument of mkfs.erofs -z, or `none`; `epoch` is its build time in
    seconds. Equal tars give equal images, whatever the number of cores. Raises ToolError.
    """
    toolbox.run(
        "mkfs.erofs", *_arguments(tree_tar, output, compression, epoch, uuid), timeout=TIMEOUT
    )


def _arguments(tree_tar: Path, output: Path, compression: str, epoch: int, uuid: UUID) -> list[str]:
    # mkfs.erofs takes the block size from the build host's page size unless told.
    arguments = ["--quiet", f"-b{BLOCK}", "--tar=f", "--sort=path", f"-T{epoch}", f"-U{uuid}"]
    if compression != "none":
        arguments += [f"-z{compression}", f"-C{CLUSTER}", "-Eztailpacking"]
    return [*arguments, f"--workers={WORKERS}", str(output), str(tree_tar)]


def check(image: Path, *, toolbox: Toolbox) -> None:
    """Read every file of the image once. Raises ImageError when one does not decompress."""
    try:
        toolbox.run("fsck.erofs", "--extract", str(image), timeout=TIMEOUT)
    except ToolError as error:
        raise ImageError(f"the root file system is damaged: {error.message}") from error


def names(image: Path, path: str, *, toolbox: Toolbox, offset: int = 0) -> dict[str, bool]:
    """The entries of one directory of the image: whether each is a directory itself.

    Symbolic links are not followed. Empty when there is no such directory.
    """
    listing = _dump(image, "--ls", path, toolbox, offset)
    rows = _ENTRY.findall(listing.decode("utf-8", "replace").partition("FILENAME\n")[2])
    return {name: kind == _DIRECTORY for kind, name in rows if name not in (".", "..")}


def read(image: Path, path: str, *, toolbox: Toolbox, offset: int = 0) -> bytes:
    """The content of one file of the image, which starts at `offset` (bytes) of its file or disk.

    Symbolic links are not followed.

    Raises ImageError when there is no such file.
    """
    missing = f"the root file system has no readable /{path}"
    try:
        data = _dump(image, "--cat", path, toolbox, offset)
    except ToolError as error:
        raise ImageError(missing) from error
    # dump.erofs ends with 0 for a file that is not there, too.
    directory, _, name = path.rpartition("/")
    if not data and name not in names(image, directory, toolbox=toolbox, offset=offset):
        raise ImageError(missing)
    return data


def _dump(image: Path, action: str, path: str, toolbox: Toolbox, offset: int) -> bytes:
    options = (f"--offset={offset}", action, f"--path=/{path}")
    return toolbox.run("dump.erofs", *options, str(image), timeout=60.0)
