"""What a disk says it holds, where lsblk(8) does not know: it asks udev, which not all systems run.

udev keeps nothing either of a device with signatures of several kinds. wipefs(8) reads the device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeimg import process
from edgeimg.errors import HostError, ToolError

_TIMEOUT = 60.0
_TABLES = ("PMBR", "atari", "bsd", "dos", "gpt", "mac", "sgi", "sun")
"""Partition tables: what is in them is asked for by itself."""
Found = Mapping[str, Any]
Read = Callable[[str], Sequence[Found]]


def read(path: str) -> Sequence[Found]:
    """All signatures on a device; none when they cannot be read (without root, no medium)."""
    try:
        out = process.run(["wipefs", "--no-act", "--json", path], timeout=_TIMEOUT)
        return list(json.loads(out or b"{}").get("signatures") or ())
    except (HostError, ToolError, ValueError):
        return ()


def complete(
    lsblk: Mapping[str, Any], telling: Callable[[str], bool], *, read: Read = read
) -> dict[str, Any]:
    """The document of lsblk with file system types that it lacks.

    Of several kinds on one device, the first that is `telling` is taken, else the first.
    """

    def known(entry: Mapping[str, Any]) -> dict[str, Any]:
        children = [known(child) for child in entry.get("children") or ()]
        return {**entry, **_type(entry, telling, read), "children": children}

    return {**lsblk, "blockdevices": [known(entry) for entry in lsblk["blockdevices"]]}


def _type(entry: Mapping[str, Any], telling: Callable[[str], bool], read: Read) -> dict[str, Any]:
    if entry.get("fstype") or not entry.get("size"):
        return {}
    found = [one for one in read(str(entry["path"])) if one.get("type") not in _TABLES]
    if not found:
        return {}
    best = next((one for one in found if telling(str(one["type"]))), found[0])
    return {"fstype": best["type"], "uuid": best.get("uuid"), "label": best.get("label")}
