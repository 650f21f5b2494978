"""Services that run without a sandbox, by the marks of `systemd-analyze security`.

A static judgement of our own: it works for an image of any architecture without running anything
of it. It weighs what systemd weighs (units.toml); an integration test holds it against
systemd-analyze itself. Judged is what keeps running: helpers that do one thing and end are as
safe as what they do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from edgeimg.check.findings import Finding, finding
from edgeimg.check.unit_files import Unit, services, started
from edgeimg.text import typed
from edgeimg.tree import Tree

POOR = 9.0
"""From this mark on, systemd calls a service unsafe."""
_SHORT = ("oneshot",)
_PACKAGE = "package:"
_CONTAINER = "service:"
_FIX = (
    "take from it what it does not need: User= or DynamicUser=, NoNewPrivileges=, "
    "ProtectSystem=strict, CapabilityBoundingSet=, SystemCallFilter=@system-service"
)
_WITHIN = {"@system-service": ("privileged", "resources")}
"""Groups of system calls that allow lists name, and which of the judged ones they let in."""


def check(tree: Tree) -> list[Finding]:
    """Services that run as long as the gateway does, and have a poor mark.

    Those of Debian packages count when something starts them, those of overlays always. What runs
    a container has its walls in the container's configuration (check.services).
    """
    started_units = started(tree)
    findings = []
    for unit in services(tree):
        packaged = unit.origin.startswith(_PACKAGE)
        if unit.origin.startswith(_CONTAINER):
            continue
        if unit.last("Type") in _SHORT or (packaged and not _is_started(unit.name, started_units)):
            continue
        mark = exposure(unit)
        if mark >= POOR:
            message = f"{unit.name} has a mark of {mark:.1f} (10 is worst) by systemd's reckoning"
            findings.append(finding("unit-exposure", unit.path, message, _FIX, item=unit.name))
    return findings


def _is_started(name: str, units: set[str]) -> bool:
    if not name.endswith("@.service"):
        return name in units
    start = name.removesuffix(".service")
    return any(unit.startswith(start) and unit.endswith(".service") for unit in units)


@dataclass(frozen=True)
class Weights:
    """Weights of missing protections (units.toml)."""

    flags: Mapping[str, int]
    values: Mapping[str, Mapping[str, int]]
    early: Mapping[str, tuple[str, ...]]
    capabilities: Mapping[str, int]
    namespaces: Mapping[str, int]
    families: Mapping[str, int]
    calls: Mapping[str, int]
    others: Mapping[str, int]


@lru_cache
def weights() -> Weights:
    """The weights, read once."""
    return typed.data_file(__file__, "units", Weights)


def exposure(unit: Unit) -> float:
    """The mark of a service, from 0 (nothing is open) to 10, in tenths, rounded up."""
    data = weights()
    parts = [*_flags(unit, data), *_values(unit, data), *_lists(unit, data), *_others(unit, data)]
    early = set(data.early["names"]) if not _has_defaults(unit) else set()
    judged = [(weight, bad) for name, weight, bad in parts if name not in early]
    total = sum(weight for weight, _ in judged)
    open_ = sum(-(-weight * bad // 10) for weight, bad in judged)
    return -(-open_ * 100 // total) / 10


Part = tuple[str, int, int]
"""A setting's name, its weight, and how many tenths of it are missing."""


def _has_defaults(unit: Unit) -> bool:
    return unit.flag("DefaultDependencies", default=True, section="Unit")


def _is_root(unit: Unit) -> bool:
    user = unit.last("User")
    return user in ("0", "root") or (not user and not unit.flag("DynamicUser"))


_IMPLIED = {
    "DynamicUser": {"PrivateTmp": "yes", "NoNewPrivileges": "yes", "RestrictSUIDSGID": "yes",
                    "ProtectSystem": "strict", "ProtectHome": "read-only", "RemoveIPC": "yes"},
}  # fmt: skip
"""What a setting brings with it (systemd.exec(5))."""
_MOUNTS = (
    "PrivateDevices", "PrivateTmp", "ProtectControlGroups", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectKernelLogs", "ProtectHome", "ProtectSystem",
    "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths",
    "TemporaryFileSystem", "RootDirectory", "RootImage", "DynamicUser", "ProtectProc",
    "PrivateMounts",
)  # fmt: skip
"""Any of these gives the service mounts of its own."""


def _value(unit: Unit, key: str) -> str:
    if unit.flag("DynamicUser") and key in _IMPLIED["DynamicUser"]:
        return unit.last(key) or _IMPLIED["DynamicUser"][key]
    return unit.last(key)


def _flags(unit: Unit, data: Weights) -> list[Part]:
    parts = []
    for name, weight in data.flags.items():
        value = _value(unit, name)
        on = value.lower() in ("1", "yes", "true", "on", "disconnected", "self", "identity", "full")
        if name == "PrivateMounts":
            on = any(_value(unit, key) not in ("", "no", "false", "default") for key in _MOUNTS)
        parts.append((name, weight, 0 if on else 10))
    return parts


def _values(unit: Unit, data: Weights) -> list[Part]:
    parts = []
    for name, weights in data.values.items():
        value = _value(unit, name).lower()
        if value in ("1", "true", "on"):
            value = "yes"
        parts.append((name, weights["weight"], weights.get(value, 10) if value else 10))
    return parts


def _lists(unit: Unit, data: Weights) -> list[Part]:
    parts: list[Part] = []
    for group, weight in data.capabilities.items():
        has_any = any(_has_capability(unit, name) for name in group.split())
        parts.append(("CapabilityBoundingSet", weight, 10 if has_any else 0))
    for kind, weight in data.namespaces.items():
        parts.append(("RestrictNamespaces", weight, 10 if _may_unshare(unit, kind) else 0))
    for group, weight in data.families.items():
        parts.append(("RestrictAddressFamilies", weight, 10 if _may_open(unit, group) else 0))
    for calls, weight in data.calls.items():
        parts.append(("SystemCallFilter", weight, _call_tenths(unit, calls)))
    return parts


def _has_capability(unit: Unit, name: str) -> bool:
    """Whether the service may have it: CapabilityBoundingSet=, and what implies its loss."""
    lost = {
        "PrivateDevices": ("MKNOD", "SYS_RAWIO"),
        "ProtectKernelModules": ("SYS_MODULE",),
        "ProtectKernelLogs": ("SYSLOG",),
        "ProtectClock": ("SYS_TIME", "WAKE_ALARM"),
    }
    if any(name in names and unit.flag(key) for key, names in lost.items()):
        return False
    has, first = True, True
    for value in unit.settings.get(("Service", "CapabilityBoundingSet"), []):
        names = value.lstrip("~").split()
        inside = f"CAP_{name}" in names
        bounded = inside if first else has or inside
        has, first = has and not inside if value.startswith("~") else bounded, False
    return has


def _may_unshare(unit: Unit, kind: str) -> bool:
    value = unit.last("RestrictNamespaces")
    if value.lower() in ("", "no", "false", "0", "off"):
        return True
    if value.lower() in ("yes", "true", "1", "on"):
        return False
    return (kind in value.lstrip("~").split()) != value.startswith("~")


def _may_open(unit: Unit, group: str) -> bool:
    words = unit.words("RestrictAddressFamilies")
    if not words:
        return True
    if words[0] == "none":
        return False
    denies = words[0].startswith("~")
    listed = {word.lstrip("~") for word in words}
    common = {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"}
    if group == "*":
        return denies or bool(listed - common)
    inside = bool(set(group.split()) & listed)
    return not inside if denies else inside


def _call_tenths(unit: Unit, calls: str) -> int:
    """Tenths that are missing for one group of system calls; allow and deny lists."""
    allowed: set[str] | None = None
    denied: set[str] = set()
    for value in unit.settings.get(("Service", "SystemCallFilter"), []):
        names = {word.partition(":")[0] for word in value.lstrip("~").split()}
        if not value:
            allowed, denied = None, set()
        elif value.startswith("~"):
            denied |= names
        else:
            allowed = (allowed or set()) | names
    if allowed is None:
        return 0 if f"@{calls}" in denied else 10
    inside = (
        any(name == f"@{calls}" or calls in _WITHIN.get(name, ()) for name in allowed)
        and f"@{calls}" not in denied
    )
    return 9 if inside else 0


def _others(unit: Unit, data: Weights) -> list[Part]:
    weights, root = data.others, _is_root(unit)
    umask_text = unit.last("UMask")
    umask = int(umask_text, 8) if re.fullmatch(r"[0-7]{1,4}", umask_text) else 0o022
    tests = ((0o002, 10), (0o004, 5), (0o020, 2), (0o040, 1))
    native = unit.words("SystemCallArchitectures")
    device = unit.last("DevicePolicy")
    if unit.flag("PrivateDevices") and not device:
        device = "closed"
    denies_all = "any" in unit.words("IPAddressDeny")
    keyring = unit.last("KeyringMode") or "private"
    tenths = {
        "User": 9 if unit.last("User") == "nobody" else 10 if root else 0,
        "SupplementaryGroups": 10 if unit.words("SupplementaryGroups") else 0,
        "RootDirectory": 0 if unit.last("RootDirectory") or unit.last("RootImage") else 10,
        "UMask": next((bad for bit, bad in tests if not umask & bit), 0),
        "KeyringMode": 0 if keyring == "private" else 10,
        "NotifyAccess": 10 if unit.last("NotifyAccess") == "all" else 0,
        "RemoveIPC": 0 if _value(unit, "RemoveIPC").lower() in ("yes", "true", "1", "on") else 10,
        "Delegate": 10 if unit.last("Delegate").lower() not in ("", "no", "false", "0") else 0,
        "SystemCallArchitectures": 10 if not native else 0 if "native" in native else 8,
        "IPAddressDeny": _address_tenths(unit) if denies_all else 10,
        "DeviceAllow": 10 if device not in ("strict", "closed")
        else 5 if unit.words("DeviceAllow") else 0,
        "AmbientCapabilities": 10 if unit.words("AmbientCapabilities") else 0,
    }  # fmt: skip
    irrelevant = ("SupplementaryGroups", "RemoveIPC") if root else ()
    return [(name, weights[name], bad) for name, bad in tenths.items() if name not in irrelevant]


def _address_tenths(unit: Unit) -> int:
    allowed = set(unit.words("IPAddressAllow"))
    if not allowed:
        return 0
    return 2 if allowed <= {"localhost", "127.0.0.0/8", "::1/128", "::1"} else 5
