"""Services whose container does not confine them: taking over one takes over the gateway."""

from __future__ import annotations

from collections.abc import Iterator

from edgeimg.check.findings import Finding, finding
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.services import ALL, Service

_KEYS = frozenset(
    {"BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MKNOD", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE",
     "SYS_PTRACE", "SYS_RAWIO", "SETFCAP"}
)  # fmt: skip
"""Capabilities with which a process gets out of its container, or ends the system."""
_SYSTEM = ("", "boot", "dev", "etc", "proc", "sys", "usr")
"""Directories of the gateway that are the gateway."""
_FIX = "grant less, or accept it with a comment"


def check(recipe: Recipe) -> list[Finding]:
    """One finding for each service of the recipe that is granted the gateway itself."""
    findings = []
    for name, service in sorted(recipe.services.items()):
        if reasons := list(_reasons(service)):
            message = f"its container is no wall: {', '.join(reasons)}"
            findings.append(finding("privileged-service", f"services.{name}", message, _FIX))
    return findings


def _reasons(service: Service) -> Iterator[str]:
    if ALL in service.capabilities:
        yield "it has every capability"
    elif keys := sorted(_KEYS & set(service.capabilities)):
        yield f"it has CAP_{', CAP_'.join(keys)}"
    if service.seccomp == "unconfined":
        yield "it may make any system call"
    if service.user == "root" and service.pids == "host":
        yield "it is root among the gateway's processes"
    for mount in service.mounts:
        if mount.writable and mount.source.split("/")[1] in _SYSTEM:
            yield f"it may change {mount.source}"
