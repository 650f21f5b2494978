"""The default seccomp profile, for one architecture and a set of capabilities.

Source: the profile of containers/common (Debian: golang-github-containers-common), whose entries
have conditions on architectures and capabilities. Result: `linux.seccomp` of the OCI runtime
specification, which has none.
"""

from __future__ import annotations

from collections.abc import Collection

from edgeimg.arch import Arch
from edgeimg.errors import ArchiveError
from edgeimg.text import json_text
from edgeimg.text.json_text import JsonObject

PATH = "usr/share/containers/seccomp.json"
_ALWAYS = {
    "SYS_ADMIN": (
        "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
        "open_tree", "pivot_root", "setns", "swapoff", "swapon", "umount", "umount2", "unshare",
    ),
    "SYS_BOOT": ("kexec_load", "reboot"),
    "SYSLOG": ("syslog",),
}  # fmt: skip
"""System calls that the profile leaves to the kernel, which refuses them without the capability
(except namespaces of users). If they are denied here, the log has their names."""
_EPERM = 1
_LOG = "SECCOMP_FILTER_FLAG_LOG"
"""Denied calls are in the kernel's log: `explain` reads it."""


def profile(data: bytes, arch: Arch, capabilities: Collection[str]) -> JsonObject:
    """The profile in `data` for programs that have `capabilities` (without `CAP_`).

    Raises ArchiveError when `data` is not such a profile.
    """
    capability_names = {f"CAP_{name}" for name in capabilities}
    try:
        document = json_text.parse(data)
        lacking = _lacking(capabilities)
        rules = [
            _rule(entry, lacking)
            for entry in document["syscalls"]
            if _applies(entry, arch.goarch, capability_names) and not set(entry["names"]) <= lacking
        ]
        if lacking:
            denied = {"names": sorted(lacking), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}
            rules.append(denied)
        return {
            "defaultAction": document["defaultAction"],
            "defaultErrnoRet": int(document["defaultErrnoRet"]),
            # Programs of a second instruction set are not supported.
            "architectures": [arch.seccomp],
            "flags": [_LOG],
            "syscalls": rules,
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"/{PATH} is no seccomp profile: {error!r}") from error


def guarded(data: bytes) -> dict[str, str]:
    """System calls that a capability opens, by name: `mount` → `SYS_ADMIN`."""
    guards = {name: capability for capability, names in _ALWAYS.items() for name in names}
    for entry in json_text.parse(data)["syscalls"]:
        caps = (entry.get("includes") or {}).get("caps") or []
        if len(caps) == 1 and entry["action"] == "SCMP_ACT_ALLOW" and not entry.get("args"):
            for name in entry["names"]:
                guards.setdefault(name, caps[0].removeprefix("CAP_"))
    return guards


def _applies(entry: JsonObject, goarch: str, capabilities: Collection[str]) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if goarch not in (includes.get("arches") or [goarch]):
        return False
    if goarch in (excludes.get("arches") or []):
        return False
    if not set(includes.get("caps") or []) <= set(capabilities):
        return False
    return not set(excludes.get("caps") or []) & set(capabilities)


def _lacking(capabilities: Collection[str]) -> set[str]:
    return {
        name
        for capability, names in _ALWAYS.items()
        if capability not in capabilities
        for name in names
    }


def _rule(entry: JsonObject, without: Collection[str]) -> JsonObject:
    names = [name for name in entry["names"] if name not in without]
    rule: JsonObject = {"names": names, "action": entry["action"]}
    if entry.get("errnoRet") is not None:
        rule["errnoRet"] = int(entry["errnoRet"])
    if entry.get("args"):
        rule["args"] = list(entry["args"])
    return rule
