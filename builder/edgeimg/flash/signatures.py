"""Signatures on a disk, for hosts where lsblk(8) has none because udev does not run.

udev also stores none for a device with signatures of several kinds. wipefs(8) reads the device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from edgeimg import process
from edgeimg.errors import HostError, ToolError
from edgeimg.text.json_text import JsonObject

_TIMEOUT = 60.0
_TABLES = ("PMBR", "atari", "bsd", "dos", "gpt", "mac", "sgi", "sun")
"""Partition tables. Their partitions have their own entries."""
Signature = JsonObject
Read = Callable[[str], Sequence[Signature]]


def read(path: str) -> Sequence[Signature]:
    """All signatures on a device; none when they cannot be read (without root, no medium)."""
    try:
        out = process.run(["wipefs", "--no-act", "--json", path], timeout=_TIMEOUT)
        return list(json.loads(out or b"{}").get("signatures") or ())
    except (HostError, ToolError, ValueError):
        return ()


def complete(lsblk: JsonObject, telling: Callable[[str], bool], *, read: Read = read) -> JsonObject:
    """The document of lsblk with file system types that it lacks.

    Of several kinds on one device, the first that is `telling` is taken, else the first.
    """

    def with_type(entry: JsonObject) -> JsonObject:
        children = [with_type(child) for child in entry.get("children") or ()]
        return {**entry, **_type(entry, telling, read), "children": children}

    return {**lsblk, "blockdevices": [with_type(entry) for entry in lsblk["blockdevices"]]}


def _type(entry: JsonObject, telling: Callable[[str], bool], read: Read) -> JsonObject:
    if entry.get("fstype") or not entry.get("size"):
        return {}
    signatures = [
        signature for signature in read(str(entry["path"])) if signature.get("type") not in _TABLES
    ]
    if not signatures:
        return {}
    best = next(
        (signature for signature in signatures if telling(str(signature["type"]))), signatures[0]
    )
    return {"fstype": best["type"], "uuid": best.get("uuid"), "label": best.get("label")}
