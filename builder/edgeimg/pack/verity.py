"""dm-verity: the hash tree that proves every block of the root when it is read.

Format: hash type 1, SHA-256, 4 KiB blocks, superblock first, as veritysetup(8) and the
kernel's Documentation/admin-guide/device-mapper/verity.rst describe it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from edgeimg.cache.store import sha256_file
from edgeimg.errors import ImageError, ToolError
from edgeimg.tools import Toolbox

NAMESPACE = UUID("5bd0a3c4-9f4e-5c0a-a7bb-3a3fb1f0a0d1")
TIMEOUT = 600.0


@dataclass(frozen=True, kw_only=True)
class Verity:
    """A root's hash tree."""

    root_hash: str
    """64 hex digits: trust in them is trust in the whole root."""
    salt: str
    path: Path
    """The hash image: the content of the root-verity partition."""


def make(root: Path, output: Path, *, toolbox: Toolbox) -> Verity:
    """Write the hash tree of `root` (a multiple of 4 KiB) to `output`.

    Salt and UUID follow from the root's content, so that equal roots have equal root hashes.
    Raises ToolError.
    """
    digest = sha256_file(root)
    salt = hashlib.sha256(f"edgeimg verity salt {digest}".encode()).hexdigest()
    root_hash_file = output.with_name(f"{output.name}.roothash")
    toolbox.run(
        "veritysetup",
        "format",
        "--hash=sha256",
        "--data-block-size=4096",
        "--hash-block-size=4096",
        f"--salt={salt}",
        f"--uuid={uuid5(NAMESPACE, digest)}",
        f"--root-hash-file={root_hash_file}",
        str(root),
        str(output),
        timeout=TIMEOUT,
    )
    root_hash = root_hash_file.read_text().strip()
    root_hash_file.unlink()
    return Verity(root_hash=root_hash, salt=salt, path=output)


def verify(root: Path, hashes: Path, root_hash: str, *, toolbox: Toolbox) -> None:
    """Check every block of `root` against `root_hash`. Raises ImageError when one differs."""
    try:
        toolbox.run("veritysetup", "verify", str(root), str(hashes), root_hash, timeout=TIMEOUT)
    except ToolError as error:
        raise ImageError(
            f"the root does not match its root hash {root_hash[:16]}…",
            hint="the image is damaged or was changed: build or download it again",
        ) from error
