"""Uses of a disk that lsblk(8) does not list: loop devices on it, and mounts of other processes.

Both are put where lsblk would have them, so that one set of rules judges all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LOOPS = Path("/sys/block")
PROCESSES = Path("/proc")
Mounts = Mapping[str, Sequence[str]]


def complete(lsblk: Mapping[str, Any], loops: Mapping[str, str], mounts: Mounts) -> dict[str, Any]:
    """The document with both added. Pure.

    `loops` names the device below each loop device; `mounts` has places by `major:minor`, each with
    who sees it.
    """
    entries = list(lsblk["blockdevices"])
    below: dict[str, list[Any]] = {}
    for entry in entries:
        if entry["path"] in loops:
            below.setdefault(loops[entry["path"]], []).append(entry)
    return {**lsblk, "blockdevices": [_with(entry, below, mounts) for entry in entries]}


def _with(entry: Mapping[str, Any], loops: Mapping[str, list[Any]], mounts: Mounts) -> Any:
    # Each loop device is taken once, so a loop device on itself ends here.
    other_loops = {path: backing for path, backing in loops.items() if path != entry["path"]}
    children = [*(entry.get("children") or ()), *loops.get(entry["path"], ())]
    number = str(entry.get("maj:min") or "").strip()
    places = [*(entry.get("mountpoints") or ()), *mounts.get(number, ())]
    return {
        **entry,
        "mountpoints": places,
        "children": [_with(child, other_loops, mounts) for child in children],
    }


def loops(blocks: Path = LOOPS) -> dict[str, str]:
    """Loop devices and the devices below them: `{"/dev/loop0": "/dev/sdb1"}`; no files."""
    backing_files = {}
    for link in sorted(blocks.glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            backing_files[f"/dev/{link.parts[-3]}"] = os.path.realpath(link.read_text().strip())
    return {loop: backing for loop, backing in backing_files.items() if backing.startswith("/dev/")}


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
