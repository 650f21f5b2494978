"""The description of an image: in its root, and beside it as `.manifest.json`.

`Contents` is in the root (usr/share/edgeimg/manifest.json), so `inspect` can read it from the
image alone; it holds nothing that would change the root without need. `Manifest` adds what is
known only afterwards. The JSON is described in docs/reference/manifest.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from edgeimg.errors import ImageError
from edgeimg.image.partitions import DiskPlan
from edgeimg.text import bounded, json_text, typed

PATH = "usr/share/edgeimg/manifest.json"
SCHEMA = "edgeimg-manifest-1"
SUFFIX = ".manifest.json"
_NAME = "the image's manifest"
_Model = TypeVar("_Model")


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
    source: Literal["release", "file", "standin"]
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
    signed: bool = False
    """They take signed settings only. In the file only where it is true."""
    agent: bool | None = None
    """They have the roll-out agent. None: unknown. Not in the file: its list of files says it."""
    k3s: bool | None = None
    """They have K3s. None: unknown. Not in the file: the table `k3s` says it."""
    updates: bool | None = None
    """They update themselves. None: unknown. Not in the file: its list of files says it."""

    def to_json(self) -> dict[str, object]:
        """The table `provision` of a manifest."""
        return {"allow": self.allow, **({"signed": True} if self.signed else {})}


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """One file of the root; size in bytes."""

    size: int
    origin: str
    """The component that it belongs to."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of the root."""

    id: str
    version: str
    arch: str
    epoch: int
    kernel: str
    k3s: K3sFacts | None
    """None: an image without K3s."""
    packages: tuple[PackageFacts, ...]
    components: Mapping[str, int]
    """Bytes in the root by what brought them: `k3s`, `package:systemd`, `kernel`, …"""
    services: tuple[ServiceFacts, ...] | None = ()
    """None: the manifest is of an edgeimg that listed no services."""
    provision: ProvisionFacts = ProvisionFacts()

    @property
    def name(self) -> str:
        """`<id>_<version>_<arch>`: the first part of every file name."""
        return f"{self.id}_{self.version}_{self.arch}"

    @property
    def standin(self) -> bool:
        """Whether its K3s is the project's test program."""
        return self.k3s is not None and self.k3s.standin

    @classmethod
    def from_json(cls, data: bytes, name: str = _NAME) -> Contents:
        """The contents in a manifest. Raises ImageError for a damaged one, which `name` names."""
        return _model(cls, _contents(_document(data, name), name), name)

    def to_json(self) -> dict[str, object]:
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
            "k3s": asdict(self.k3s) if self.k3s else None,
            "packages": [asdict(package) for package in sorted(self.packages)],
            "services": [asdict(service) for service in sorted(self.services or ())],
            "components": dict(sorted(self.components.items())),
            "provision": self.provision.to_json(),
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
    files: Mapping[str, FileFacts] | None = field(default_factory=dict)
    """Of the root, by path; directories and links are left out. None: an older edgeimg's manifest
    does not list them."""
    kernel_config: Mapping[str, str] | None = field(default_factory=dict)
    """The kernel's options that are set, without `CONFIG_`. None: as for `files`."""
    tools: tuple[PackageFacts, ...] = ()
    """The build host's programs that made it."""
    edgeimg: str = ""
    """The version of edgeimg that made it; empty in manifests that did not name it."""
    builtin: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the parts of edgeimg that its recipe uses, by name."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The inputs of the image: `recipe`, `lock`, `build`."""
    unsigned_index: bool = False
    """Its packages come from an index that did not match its signature."""
    secure_boot: str = ""
    """SHA-256 of the certificate that its boot files are signed with; empty if they are not. In the
    file only where it is set."""

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest in a file. Raises ImageError when it cannot be read or is damaged."""
        try:
            data = bounded.read(path, json_text.MAX_BYTES)
        except OSError as error:
            raise ImageError(
                f"cannot read {path}: {error.strerror}",
                hint=f"an image has its {SUFFIX} beside it",
            ) from error
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: bytes, name: str = _NAME) -> Manifest:
        """The manifest in `data`, of this or an older edgeimg.

        Raises ImageError for a damaged one, which `name` names.
        """
        raw = _document(data, name)
        files = raw.get("files")
        if isinstance(files, dict):
            keys = ("size", "origin", "sha256")
            raw["files"] = {
                path: dict(zip(keys, facts, strict=True))
                if isinstance(facts, list) and len(facts) == len(keys)
                else facts
                for path, facts in files.items()
            }
        maker = raw.get("edgeimg")
        if isinstance(maker, dict):
            raw["edgeimg"], raw["builtin"] = maker.get("version"), maker.get("builtin")
        old: dict[str, object] = {"files": None, "kernel_config": None}
        return _model(cls, {**old, **raw, "contents": _contents(raw, name)}, name)

    def to_json(self) -> dict[str, object]:
        """The content of `.manifest.json`."""
        return {
            **self.contents.to_json(),
            "root_hash": self.root_hash,
            "disk": {key: value for key, value in asdict(self.disk).items() if value is not None},
            "sizes": dict(sorted(self.sizes.items())),
            "tools": [asdict(package) for package in sorted(self.tools)],
            "edgeimg": {"version": self.edgeimg, "builtin": dict(sorted(self.builtin.items()))},
            "digests": dict(sorted(self.digests.items())),
            "unsigned_index": self.unsigned_index,
            **({"secure_boot": self.secure_boot} if self.secure_boot else {}),
            "kernel_config": dict(sorted((self.kernel_config or {}).items())),
            "files": {
                path: [facts.size, facts.origin, facts.sha256]
                for path, facts in sorted((self.files or {}).items())
            },
        }


def encode(data: Mapping[str, object]) -> bytes:
    """JSON as edgeimg writes it: indented, in the given order, with a newline at its end."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _document(data: bytes, name: str) -> dict[str, object]:
    """The JSON object in `data`, of the schema that this edgeimg reads."""
    try:
        raw = json_text.parse(data)
    except json_text.MalformedError as error:
        raise ImageError(f"{name} is damaged: {error}") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema is None:
        raise ImageError(f"{name} is damaged: not the manifest of an image")
    if schema != SCHEMA:
        raise ImageError(
            f"{name} has the schema {schema!r}, expected {SCHEMA!r}",
            hint="use the edgeimg that built it",
        )
    return dict(raw)


def _contents(raw: Mapping[str, object], name: str) -> dict[str, object]:
    image = raw.get("image")
    if not isinstance(image, dict):
        raise ImageError(f"{name} is damaged: image: Field required")
    return {"services": None, **raw, **image}


def _model(model: type[_Model], values: Mapping[str, object], name: str) -> _Model:
    try:
        return typed.validate(model, values)
    except json_text.MalformedError as error:
        raise ImageError(f"{name} is damaged: {error}") from error
