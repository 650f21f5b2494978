"""What lsblk(8) does not list: loop devices on a disk, mounts of other processes, eMMCs.

All are put where lsblk would have them, so that one set of rules judges all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeimg.text.json_text import JsonObject

BLOCKS = Path("/sys/block")
PROCESSES = Path("/proc")
Mounts = Mapping[str, Sequence[str]]


def complete(
    lsblk: JsonObject,
    loops: Mapping[str, str],
    mounts: Mounts,
    *,
    emmcs: Collection[str] = (),
) -> JsonObject:
    """The document with all of it added. Pure.

    `loops` names the device below each loop device; `mounts` has places by `major:minor`, each with
    who sees it; `emmcs` are not removable.
    """
    entries = list(lsblk["blockdevices"])
    below: dict[str, list[Any]] = {}
    for entry in entries:
        if entry["path"] in loops:
            below.setdefault(loops[entry["path"]], []).append(entry)
    found = [_with(entry, below, mounts) for entry in entries]
    fixed = [{**one, "hotplug": False} if one["path"] in emmcs else one for one in found]
    return {**lsblk, "blockdevices": fixed}


def _with(entry: JsonObject, loops: Mapping[str, list[Any]], mounts: Mounts) -> Any:
    # Each loop device is taken once, so a loop device on itself ends here.
    other_loops = {path: backing for path, backing in loops.items() if path != entry["path"]}
    children = [*(entry.get("children") or ()), *loops.get(entry["path"], ())]
    number = str(entry.get("maj:min") or "").strip()
    return {
        **entry,
        "mountpoints": _places(entry.get("mountpoints") or (), mounts.get(number, ())),
        "children": [_with(child, other_loops, mounts) for child in children],
    }


def _places(here: Sequence[str], elsewhere: Sequence[str]) -> list[str]:
    """Each place once: services have mount namespaces that repeat those of the system."""
    places = {place: place for place in here}
    for place in elsewhere:
        places.setdefault(place.rpartition(" by ")[0], place)
    return list(places.values())


def loops(blocks: Path = BLOCKS) -> dict[str, str]:
    """Loop devices and the devices below them: `{"/dev/loop0": "/dev/sdb1"}`; no files."""
    backing_files = {}
    for link in sorted(blocks.glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            backing_files[f"/dev/{link.parts[-3]}"] = os.path.realpath(link.read_text().strip())
    return {loop: backing for loop, backing in backing_files.items() if backing.startswith("/dev/")}


def emmcs(blocks: Path = BLOCKS) -> frozenset[str]:
    """The eMMCs: lsblk calls everything on an MMC bus hotpluggable, as SD cards are."""
    found = set()
    for card in blocks.glob("mmcblk*/device/type"):
        with contextlib.suppress(OSError):
            if card.read_text().strip() == "MMC":
                found.add(f"/dev/{card.parts[-3]}")
    return frozenset(found)


def foreign_mounts(processes: Path = PROCESSES) -> dict[str, list[str]]:
    """Mounts in namespaces of other processes, such as containers: places by `major:minor`.

    Without root only one's own processes are seen; then the kernel still refuses the disk.
    """
    namespaces = {_namespace(processes / "self")}
    places: dict[str, list[str]] = {}
    for process in sorted(processes.glob("[0-9]*")):
        namespace = _namespace(process)
        if namespace is None or namespace in namespaces:
            continue
        namespaces.add(namespace)
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text().strip()
            for number, place in _mounted(process):
                places.setdefault(number, []).append(f"{place} by {name} ({process.name})")
    return places


def _namespace(process: Path) -> str | None:
    try:
        return str((process / "ns/mnt").readlink())
    except OSError:
        return None


def _mounted(process: Path) -> Iterator[tuple[str, str]]:
    """Number of the device and place of each mount: proc_pid_mountinfo(5)."""
    for line in (process / "mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if not fields[2].startswith("0:"):  # no device is behind it
            yield fields[2], fields[4]
