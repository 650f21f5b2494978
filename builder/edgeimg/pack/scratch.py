"""Files of a work directory: what a tool needs to find under a path."""

from __future__ import annotations

from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.tree import Content

_CHUNK = 1 << 20


def write(content: Content, path: Path) -> Path:
    """Write `content` to `path` and return it. Raises HostError when the disk is full."""
    with disk_errors(path), path.open("wb") as output:
        if isinstance(content, bytes):
            output.write(content)
            return path
        with content.opened() as source:
            source.seek(content.offset)
            left = content.size
            while chunk := source.read(min(_CHUNK, left)):
                output.write(chunk)
                left -= len(chunk)
            content.require_unchanged(source)
    return path
