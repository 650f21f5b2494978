"""Who made a kernel, when it was not Debian."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """The origin of a kernel that is not Debian's."""

    path: str
    """In the project."""
    name: str
    """Of its package; `linux` without one."""
    version: str
    """Of its package; else that of the kernel."""
    supplier: str
