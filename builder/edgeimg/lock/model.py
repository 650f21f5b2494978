"""The lock's frozen objects: every input of every architecture, with its size and sha256."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

KernelKind = Literal["deb", "files"]
"""What a vendor's kernel is: a Debian package, or a directory of files."""


@dataclass(frozen=True, kw_only=True, order=True)
class Package:
    """One Debian package, as the signed index describes it."""

    name: str
    version: str
    arch: str
    """Debian's architecture of the package: `amd64`, `all`, …"""
    archive: str
    """Which archive it is in: `debian` or `debian-security`."""
    path: str
    """Path below the archive's base URL: `pool/main/…/x.deb`."""
    size: int
    sha256: str
    suite: str = ""
    """The suite that the recipe or a board pins it to; empty for the suite of the lock."""

    @property
    def source(self) -> str:
        """The pool directory: all binary packages of one source package share it."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class K3sAsset:
    """One K3s release binary."""

    version: str
    url: str
    size: int | None
    """Bytes, or None when the release was not reachable when the lock was written."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ImagePin:
    """A service's container image, for one architecture."""

    reference: str
    """As the recipe names it: a reference for an engine, or a path in the project."""
    digest: str
    """`sha256:…` of the image's configuration, which names every layer."""
    source: str = ""
    """`repository@sha256:…`, by which an engine can pull it again; empty when it cannot."""


@dataclass(frozen=True, kw_only=True)
class KernelPin:
    """A vendor's kernel in the project, for one architecture."""

    kind: KernelKind
    path: str
    """In the project, as the recipe names it for this architecture."""
    sha256: str
    """Of the package; of a directory, the digest of its tree (`Tree.digest`)."""


@dataclass(frozen=True, kw_only=True)
class ArchLock:
    """The inputs of one architecture's image."""

    groups: dict[str, tuple[Package, ...]]
    """Packages by their purpose: `root` (the recipe's, with dependencies), `kernel` (only the
    kernel's package), `boot` (systemd-boot and the UKI stub), `initrd` (busybox-static, dmsetup
    and its libraries), `containers` (those of the built-in container images), `firmware` (the
    sources of firmware files), `microcode`, `service:NAME` (those of a service, with
    dependencies), `services` (those of all services)."""
    k3s: K3sAsset | None
    """None when the recipe uses no release binary of K3s and pins none."""
    airgap: K3sAsset | None = None
    """The archive of K3s' images; None when the recipe uses none of them."""
    images: dict[str, ImagePin] = field(default_factory=dict)
    """By service: those that are made of a container image."""
    kernel: KernelPin | None = None
    """The vendor's kernel; None for a kernel of the archive, which has the group `kernel`."""
    unsigned_index: bool = False
    """Resolved from a package index that did not match its signature (`lock
    --accept-unsigned-index`); shown on every build, refused by `release`."""

    def packages(self) -> tuple[Package, ...]:
        """The packages of all groups, each once."""
        return tuple(sorted({package for group in self.groups.values() for package in group}))


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """The parts of edgeimg itself that a recipe uses."""

    version: str
    """The version of edgeimg that has these parts."""
    parts: dict[str, str]
    """Hex sha256 by the name that recipes use, such as `edgeimg:overlays/base`."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """All inputs: images by architecture, the tools trees by group and host architecture."""

    recipe_digest: str
    """Digest of the parts of the recipe that the resolution depends on."""
    suite: str
    """The Debian suite that everything was resolved from."""
    images: dict[str, ArchLock]
    """By `Arch.name`."""
    builtin: BuiltIn | None = None
    """None when the recipe names no part of edgeimg."""
    tools: dict[str, dict[str, tuple[Package, ...]]] = field(default_factory=dict)
    """Group (`pack`, `qemu`, `go`) to build host (`Arch.name`) to packages."""
