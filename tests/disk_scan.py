"""Where on a gateway's disk some bytes are: by partition, and by file where a file has the block.

Files are found by e2fsprogs: whatever is in no file's blocks (deleted, in the journal) has no name.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edgeimg.pack import disk
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox

_CHUNK = 4 << 20
NOWHERE = "no file"


def holders(raw: Path, needle: bytes, work: Path, *, toolbox: Toolbox) -> set[str]:
    """`PARTITION:PATH` of every file of a raw disk that holds `needle`, and what no file holds.

    `toolbox` has sfdisk; debugfs is the host's.
    """
    offsets = _offsets(raw, needle)
    found = set()
    for part in disk.read(raw, toolbox=toolbox).partitions:
        end = part.start + part.size
        inside = [offset - part.start for offset in offsets if part.start <= offset < end]
        offsets = [offset for offset in offsets if not part.start <= offset < end]
        if inside and part.name == "data":
            alone = work / "data.ext4"
            sparse.extract(raw, alone, offset=part.start, size=part.size)
            found |= {f"data:{_file(alone, offset)}" for offset in inside}
            alone.unlink()
        elif inside:
            found.add(f"{part.name}:{NOWHERE}")
    return found | {f"disk:{NOWHERE}" for _ in offsets}


def _offsets(raw: Path, needle: bytes) -> list[int]:
    found, tail, position = [], b"", 0
    with raw.open("rb") as file:
        while chunk := file.read(_CHUNK):
            window = tail + chunk
            base = position - len(tail)
            at = window.find(needle)
            while at >= 0:
                found.append(base + at)
                at = window.find(needle, at + 1)
            tail = window[-(len(needle) - 1) :]
            position += len(chunk)
    return found


def _file(image: Path, offset: int) -> str:
    size = re.search(r"Block size:\s+(\d+)", _debugfs(image, "stats -h"))
    assert size
    told = _debugfs(image, f"icheck {offset // int(size[1])}").splitlines()[-1].split()
    if not told[-1].isdigit():
        return NOWHERE
    names = _debugfs(image, f"ncheck {told[-1]}").splitlines()[1:]
    return names[0].split("\t", 1)[1] if names else f"inode {told[-1]}"


def _debugfs(image: Path, request: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", request, image], check=True, capture_output=True, text=True
    ).stdout
