"""The index by which a gateway assembles a version from blocks that it has, and fetches the rest.

`<id>_<version>_<arch>.delta` is ASCII text, one value a line:

    edgeimg-delta 1
    root <file> <sha256> <bytes> <bytes of a piece>
    <bytes of each piece as an xz stream; <file>.pieces is these streams, one after the other>
    verity <file> <sha256> <bytes> 0
    uki <file> <sha256> <bytes> <bytes of a piece>
    <SHA-256 of each piece of the file>

SHA-256 and bytes of the three files are those of their contents without compression. Nobody needs
to trust an index: `SHA256SUMS.update`, which is signed, has the same digests, and gateways check
what they have assembled by that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edgeimg.cache.store import sha256_file
from edgeimg.errors import VerifyError
from edgeimg.release import sums
from edgeimg.tools import Toolbox

SUFFIX = ".delta"
FORMAT = "edgeimg-delta 1"
PIECES = ".pieces"
"""Suffix of the file with the pieces of a root."""
ROOT_PIECE = 8 << 10
UKI_PIECE = 64 << 10
PARTS = ("root", "verity", "uki")
_XZ = ("-6", "--check=crc32", "--threads=1", "--quiet", "--keep")
_BATCH = 1000
"""Pieces that one xz compresses: their names are its arguments."""
_TIMEOUT = 1800.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a version, as it is in its slot or on the EFI system partition."""

    kind: str
    """One of `PARTS`."""
    name: str
    sha256: str
    size: int
    """Bytes."""
    piece: int = 0
    """Bytes of a piece; the last one may be shorter."""
    lines: tuple[str, ...] = ()
    """One line for each piece."""


def encode(parts: Mapping[str, Part]) -> bytes:
    """The content of an index."""
    lines = [FORMAT]
    for kind in PARTS:
        part = parts[kind]
        lines += [f"{kind} {part.name} {part.sha256} {part.size} {part.piece}", *part.lines]
    return "".join(f"{line}\n" for line in lines).encode()


def digests(path: Path) -> dict[str, str]:
    """SHA-256 by name of the three files of an index. Raises VerifyError for a damaged one."""
    text = sums.read(path).decode("ascii", errors="replace").splitlines()
    rows = [
        line.split(" ") for line in text if line.startswith(tuple(f"{kind} " for kind in PARTS))
    ]
    if text[:1] != [FORMAT] or [row[0] for row in rows] != list(PARTS):
        raise VerifyError(f"{path.name} is not an index of a version ({FORMAT})")
    if any(len(row) != 5 for row in rows):
        raise VerifyError(f"{path.name} is damaged")
    return {name: digest for _, name, digest, _, _ in rows}


def root(path: Path, packed: Path, *, toolbox: Toolbox) -> Part:
    """Compress the content of a root slot in pieces to `packed`. Equal contents give equal bytes.

    Raises ToolError, HostError.
    """
    with tempfile.TemporaryDirectory(dir=packed.parent, prefix=".pieces-") as work:
        pieces = []
        for number, data in enumerate(_pieces(path, ROOT_PIECE)):
            pieces.append(Path(work, f"{number:06}"))
            pieces[-1].write_bytes(data)
        option = f"--lzma2=preset=6,dict={ROOT_PIECE}"
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = [
                pool.submit(toolbox.run, "xz", *_XZ, option, *batch, timeout=_TIMEOUT)
                for batch in (pieces[at : at + _BATCH] for at in range(0, len(pieces), _BATCH))
            ]
            for run in runs:
                run.result()
        sizes = []
        with packed.open("wb") as output:
            for piece in pieces:
                stream = piece.with_name(f"{piece.name}.xz")
                sizes.append(str(stream.stat().st_size))
                with stream.open("rb") as file:
                    shutil.copyfileobj(file, output)
    return Part(
        kind="root", name=path.name, sha256=sha256_file(path), size=path.stat().st_size,
        piece=ROOT_PIECE, lines=tuple(sizes),
    )  # fmt: skip


def verity(path: Path) -> Part:
    """The hash tree of the root: which of its blocks a gateway has."""
    return Part(kind="verity", name=path.name, sha256=sha256_file(path), size=path.stat().st_size)


def uki(path: Path) -> Part:
    """The UKI, which is compressed already."""
    return Part(
        kind="uki", name=path.name, sha256=sha256_file(path), size=path.stat().st_size,
        piece=UKI_PIECE, lines=tuple(sha256(data).hexdigest() for data in _pieces(path, UKI_PIECE)),
    )  # fmt: skip


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(size):
            yield data
