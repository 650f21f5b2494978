"""What an image says about itself: in its root, and beside it as `.manifest.json`.

`Contents` is in the root (usr/share/edgeimg/manifest.json), so `inspect` can read it from the
image alone; it holds nothing that would change the root without need. `Manifest` adds what is
known only afterwards. The JSON is described in docs/reference/manifest.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeimg.errors import ImageError
from edgeimg.image.partitions import DiskPlan
from edgeimg.text import json_text

PATH = "usr/share/edgeimg/manifest.json"
SCHEMA = "edgeimg-manifest-1"


@dataclass(frozen=True, kw_only=True, order=True)
class PackageFacts:
    """One Debian package."""

    name: str
    version: str
    arch: str


@dataclass(frozen=True, kw_only=True)
class K3sFacts:
    """Which K3s is inside."""

    version: str
    source: str
    """`release`, `file` or `standin`."""
    sha256: str
    """Of the binary it was unpacked from."""
    standin: bool
    """It is the project's test program, not K3s."""


@dataclass(frozen=True, kw_only=True, order=True)
class ServiceFacts:
    """One service: a container that the system runs."""

    name: str
    kind: str
    """What it is made of: `packages`, `binary`, `image` or `archive`."""
    source: str
    """Names of the packages, path of the program or archive, reference of the image."""
    image: str
    """`sha256:…` of the container image's configuration; empty when it is not made of one."""
    digest: str
    """SHA-256 over all of its container: files, and what it may do."""


@dataclass(frozen=True, kw_only=True)
class ProvisionFacts:
    """What gateways of the image take from their config partitions (docs/provisioning.md)."""

    allow: tuple[str, ...] = ()
    """The consents of the recipe, sorted."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """One file of the root; size in bytes."""

    size: int
    origin: str
    """The component that brought it."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in the root."""

    id: str
    version: str
    arch: str
    epoch: int
    kernel: str
    k3s: K3sFacts
    packages: tuple[PackageFacts, ...]
    components: Mapping[str, int]
    """Bytes in the root by what brought them: `k3s`, `package:systemd`, `kernel`, …"""
    services: tuple[ServiceFacts, ...] = ()
    provision: ProvisionFacts = ProvisionFacts()

    def to_json(self) -> dict[str, Any]:
        """The part of the manifest that is in the root."""
        return {
            "schema": SCHEMA,
            "image": {
                "id": self.id,
                "version": self.version,
                "arch": self.arch,
                "epoch": self.epoch,
            },
            "kernel": self.kernel,
            "k3s": asdict(self.k3s),
            "packages": [asdict(package) for package in sorted(self.packages)],
            "services": [asdict(service) for service in sorted(self.services)],
            "components": dict(sorted(self.components.items())),
            "provision": asdict(self.provision),
        }

    def file(self) -> bytes:
        """The content of the file at `PATH` in the root."""
        return encode(self.to_json())


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about one image."""

    contents: Contents
    root_hash: str
    disk: DiskPlan
    sizes: Mapping[str, int]
    """Bytes of `root`, `verity`, `initrd`, `kernel`, `uki`, …"""
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    """Of the root, by path; directories and links are left out."""
    kernel_config: Mapping[str, str] = field(default_factory=dict)
    """The kernel's options that are set, without `CONFIG_`."""
    tools: tuple[PackageFacts, ...] = ()
    """The build host's programs that made it."""
    edgeimg: str = ""
    """The version of edgeimg that made it."""
    builtin: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the parts of edgeimg that its recipe uses, by name."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """What it was made from: `recipe`, `lock`, `build`."""
    unsigned_index: bool = False
    """Its packages come from an index that did not match its signature."""

    def to_json(self) -> dict[str, Any]:
        """The content of `.manifest.json`."""
        return {
            **self.contents.to_json(),
            "root_hash": self.root_hash,
            "disk": asdict(self.disk),
            "sizes": dict(sorted(self.sizes.items())),
            "tools": [asdict(package) for package in sorted(self.tools)],
            "edgeimg": {"version": self.edgeimg, "builtin": dict(sorted(self.builtin.items()))},
            "digests": dict(sorted(self.digests.items())),
            "unsigned_index": self.unsigned_index,
            "kernel_config": dict(sorted(self.kernel_config.items())),
            "files": {
                path: [facts.size, facts.origin, facts.sha256]
                for path, facts in sorted(self.files.items())
            },
        }


def encode(data: Mapping[str, Any]) -> bytes:
    """JSON as edgeimg writes it: indented, in the given order, with a newline at its end."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def decode(data: bytes) -> Contents:
    """The contents in a manifest. Raises ImageError when it is none of ours."""
    try:
        raw = json_text.parse(data)
        if raw["schema"] != SCHEMA:
            raise ImageError(
                f"the image's manifest is of another kind: {raw['schema']!r}, expected {SCHEMA!r}",
                hint="use the edgeimg that built it",
            )
        return Contents(
            **raw["image"],
            kernel=raw["kernel"],
            k3s=K3sFacts(**raw["k3s"]),
            packages=tuple(PackageFacts(**package) for package in raw["packages"]),
            components={str(name): int(size) for name, size in raw["components"].items()},
            # Images of the first versions had none.
            services=tuple(ServiceFacts(**service) for service in raw.get("services", ())),
            provision=_provision(raw.get("provision", {})),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ImageError("the image's manifest is damaged") from error


def _provision(raw: Mapping[str, Any]) -> ProvisionFacts:
    return ProvisionFacts(allow=tuple(map(str, raw.get("allow", ()))))
