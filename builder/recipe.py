"""TOML → Recipe: the frozen, validated description of an image."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)

from builder.arch import Arch
from builder.rules import RULES

ArchName = Literal["x86-64", "arm64", "arm"]
ARCHITECTURE_NAMES: tuple[str, ...] = get_args(ArchName)

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMG]i?B|B)?", re.IGNORECASE)
_UNITS = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}


def parse_size(value: Any) -> int:
    """Bytes from `256 MiB`, `1.5GiB`, `500 MB`, or a plain integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("expected a size such as '256 MiB'")
    return int(float(match[1]) * _UNITS[(match[2] or "B").lower()])


def _known_arch(name: str) -> str:
    if name not in ARCHITECTURE_NAMES:
        raise ValueError(f"expected one of {', '.join(ARCHITECTURE_NAMES)}")
    return name


def _exact(value: JsonValue) -> JsonValue:
    """What JSON and every YAML reader agree on: no NaN, no infinity, integers of 64 bits."""
    match value:
        case dict():
            for inner in value.values():
                _exact(inner)
        case list():
            for inner in value:
                _exact(inner)
        case float() if not math.isfinite(value):
            raise ValueError("expected a finite number")
        case int() if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("expected an integer of 64 bits")
    return value


def _accepted(entry: str) -> str:
    rule, colon, place = entry.partition(":")
    known = {name: rule for name, rule in RULES.items() if rule.acceptable}
    if not colon or not place:
        raise ValueError("expected 'RULE:PLACE', such as 'setuid:usr/bin/sudo'")
    if rule in RULES and rule not in known:
        raise ValueError(f"{rule!r} cannot be accepted: {RULES[rule].why}")
    if rule not in known:
        near = difflib.get_close_matches(rule, known, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"there is no rule {rule!r}; {guess}")
    if place.startswith("/"):
        raise ValueError("places are paths in the image without the leading '/'")
    return entry


_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)")


def _port(entry: str) -> str:
    match = _PORT.fullmatch(entry)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last < 1 << 16:
        raise ValueError("expected a port such as '6443/tcp', or a range such as '30000-32767/tcp'")
    return entry


_COMPRESSION = (
    r"^(none|lz4|lz4hc(,([0-9]|1[0-2]))?|lzma(,[0-9])?|deflate(,[0-9])?|zstd(,(1?[0-9]|2[0-2]))?)$"
)
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0, lt=1 << 50)]
RoomSize = Annotated[int, BeforeValidator(parse_size), Field(ge=1 << 20, le=64 << 30)]
"""Of a partition. FAT has a least and a greatest size of its own."""
ImageId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
ImageVersion = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.~^-]{0,31}$")]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
"""Of the kernel command line: printable ASCII without blanks."""
PathGlob = Annotated[str, StringConstraints(pattern=r"^!?[^/!\x00-\x1f][^\x00-\x1f]{0,255}$")]
ModuleGlob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_*?\[][^\x00-\x20]{0,127}$")]
OverlayPath = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f][^\x00-\x1f]{0,255}$")]
ArchKey = Annotated[str, AfterValidator(_known_arch)]
Gate = Literal["standin", "unsigned-index", "dirty-overlay", "budget", "checks", "boot"]
"""What holds a release back."""
Accepted = Annotated[str, StringConstraints(max_length=512), AfterValidator(_accepted)]
Port = Annotated[str, AfterValidator(_port)]
ConfigValue = Annotated[JsonValue, AfterValidator(_exact)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(_Model):
    """What the image is called and how large its partitions are."""

    id: ImageId = Field("gateway", description="IMAGE_ID in os-release; first part of file names")
    version: ImageVersion = Field("0.1.0", description="IMAGE_VERSION; no '_' or '+'")
    hostname: str = Field(
        "gateway",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="host name, and the name of the Kubernetes node",
    )
    epoch: int = Field(
        1767225600,
        ge=315532800,
        lt=1 << 32,
        description="time stamp of every file and clock floor of the guest, "
        "seconds since 1970; SOURCE_DATE_EPOCH overrides it",
    )
    esp: RoomSize = Field(128 << 20, ge=34 << 20, description="size of the EFI system partition")
    slot: RoomSize = Field(320 << 20, description="size of each root slot (A and B)")
    verity: RoomSize = Field(8 << 20, description="size of each slot's hash tree")
    config: RoomSize = Field(
        32 << 20,
        ge=9 << 20,
        le=1 << 30,
        description="size of the provisioning partition (FAT16)",
    )
    compression: str = Field(
        "lz4hc,9",
        pattern=_COMPRESSION,
        description="mkfs.erofs -z of the root file system, or 'none'",
    )


class Packages(_Model):
    """The Debian packages of the root file system."""

    suite: str = Field("trixie", pattern=r"^[a-z]+$", description="Debian suite")
    include: tuple[PackageName, ...] = Field(
        (),
        description="packages to install, with their dependencies (recommended ones are left out)",
    )
    exclude: tuple[PackageName, ...] = Field(
        (), description="packages to leave out even where others depend on them"
    )
    prune: tuple[PathGlob, ...] = Field(
        (),
        description="paths to leave out of the root, as globs without the leading '/'; "
        "'!glob' keeps what edgeimg's own list would leave out",
    )


class Kernel(_Model):
    """The kernel, its command line, and which modules come along."""

    package: PackageName | None = Field(None, description="kernel package; default by architecture")
    cmdline: tuple[Word, ...] = Field(
        (), max_length=32, description="words added to the kernel command line"
    )
    modules: tuple[ModuleGlob, ...] = Field(
        (),
        description="modules of the root: names, globs over their "
        "paths ('drivers/net/usb/*'), with dependencies",
    )
    exclude: tuple[ModuleGlob, ...] = Field(
        (), description="modules to leave out, as names or globs"
    )
    initrd: tuple[ModuleGlob, ...] = Field((), description="modules of the initrd")


class K3s(_Model):
    """Which K3s, from where, and its configuration."""

    source: Literal["release", "file", "standin"] = Field(
        "release",
        description="'release': official "
        "assets; 'file': --k3s PATH or `path`; 'standin': the test program of tests/standin",
    )
    version: str = Field(
        "v1.35.0+k3s1", pattern=r"^v\d+\.\d+\.\d+(-[\w.]+)?\+k3s\d+$", description="release tag"
    )
    url: str = Field(
        "https://github.com/k3s-io/k3s/releases/download",
        pattern=r"^https?://\S+$",
        description="base URL of the releases",
    )
    path: Path | None = Field(None, description="the binary, for source = 'file'")
    sha256: dict[ArchKey, Sha256] = Field(
        default_factory=dict, description="pinned sha256 of the binary by architecture"
    )
    role: Literal["server", "agent"] = Field("server", description="what the gateway runs")
    config: dict[str, ConfigValue] = Field(
        default_factory=dict, description="written to /etc/rancher/k3s/config.yaml"
    )


class Overlay(_Model):
    """Files of yours, shaped like the root they land in."""

    paths: tuple[OverlayPath, ...] = Field(
        (), description="directories, relative to the project, later ones on top"
    )


class Budget(_Model):
    """Sizes that must not be exceeded; the build fails when one is."""

    download: Size | None = Field(None, description=".raw.zst")
    root: Size | None = Field(None, description="content of the root slot")
    uki: Size | None = Field(None, description="kernel, initrd and command line")
    initrd: Size | None = Field(None, description="compressed initrd")
    components: dict[str, Size] = Field(
        default_factory=dict,
        description="bytes in the root by component, such as 'k3s' or 'package:systemd'",
    )


class Release(_Model):
    """How images are released; it changes nothing in them."""

    allow: tuple[Gate, ...] = Field(
        (), description="what would hold a release back, and may pass; written into the release"
    )
    key: OverlayPath | None = Field(
        None, description="public key file, relative to the project, that releases are checked with"
    )
    url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="where releases are published"
    )


class Check(_Model):
    """What the checks may find; it changes nothing in images."""

    accept: tuple[Accepted, ...] = Field(
        (),
        description="findings that are meant to be, as 'RULE:PLACE'; the place is a path in the "
        "image or a glob over paths, without the leading '/', or an option, a port, a parameter",
    )
    listening: tuple[Port, ...] = Field(
        ("6443/tcp", "10250/tcp", "8472/udp", "68/udp", "546/udp"),
        description="ports that a gateway may listen on beyond itself: '6443/tcp', "
        "'30000-32767/tcp'. By default the API server, the kubelet, flannel's tunnels and the "
        "DHCP clients",
    )


class Override(_Model):
    """What differs on one architecture: tables are merged, lists appended, the rest replaced."""

    image: Image | None = None
    packages: Packages | None = None
    kernel: Kernel | None = None
    k3s: K3s | None = None
    overlay: Overlay | None = None
    budget: Budget | None = None
    check: Check | None = None


class Recipe(_Model):
    """One image: everything that edgeimg needs to know to build it."""

    image: Image = Field(default_factory=Image)
    packages: Packages = Field(default_factory=Packages)
    kernel: Kernel = Field(default_factory=Kernel)
    k3s: K3s = Field(default_factory=K3s)
    overlay: Overlay = Field(default_factory=Overlay)
    budget: Budget = Field(default_factory=Budget)
    check: Check = Field(default_factory=Check)
    release: Release = Field(default_factory=Release)
    arch: dict[ArchName, Override] = Field(
        default_factory=dict, description="overrides per architecture: [arch.arm.packages] …"
    )

    def for_arch(self, arch: Arch) -> Recipe:
        """The recipe with the overrides of one architecture applied, and none left.

        Raises pydantic.ValidationError when the merged values do not fit together.
        """
        base = self.model_dump(exclude={"arch"})  # defaults too: overrides append to their lists
        override = self.arch.get(arch.name)  # type: ignore[call-overload]
        if override is not None:
            base = _merge(base, override.model_dump(exclude_unset=True, exclude_none=True))
        return Recipe.model_validate(base)

    def digest(self) -> str:
        """Hex sha256 of what the recipe says of images: comments, order and layout do not count."""
        said = self.model_dump_json(exclude={"release", "check"})
        return hashlib.sha256(said.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a recipe, for editors and other programs."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeimg recipe",
        **Recipe.model_json_schema(),
    }


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        mine = base.get(key)
        if isinstance(value, dict) and isinstance(mine, dict):
            merged[key] = _merge(mine, value)
        elif isinstance(value, list | tuple) and isinstance(mine, list | tuple):
            merged[key] = [*mine, *value]
        else:
            merged[key] = value
    return merged
