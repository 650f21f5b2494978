"""Differences between two images according to their manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg.image.manifest import SUFFIX, FileFacts, Manifest

Value = str | int | None
Facts = Mapping[str, Value | FileFacts]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that came (`before` is None), went (`after` is None) or changed.

    Sizes are bytes. A file whose bytes changed has a size before and after, perhaps equal ones.
    """

    name: str
    before: Value
    after: Value

    @property
    def growth(self) -> int:
        """By how many bytes it grew; 0 for what has no size."""
        sizes = [value if isinstance(value, int) else 0 for value in (self.after, self.before)]
        return sizes[0] - sizes[1]


@dataclass(frozen=True, kw_only=True)
class Diff:
    """All changes from one image to another, by section; a section without changes is left out."""

    old: str
    new: str
    sections: Mapping[str, tuple[Change, ...]]

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return asdict(self)


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path`, or beside the image file `path`. Raises ImageError."""
    name = path.name.removesuffix(".zst").removesuffix(".raw")
    return Manifest.read(path if path.name.endswith(".json") else path.with_name(name + SUFFIX))


def compare(old: Manifest, new: Manifest) -> Diff:
    """Everything that differs between two manifests (docs/reference/manifest.md)."""
    sections: dict[str, tuple[Change, ...]] = {}
    for section, facts in _SECTIONS.items():
        before, after = facts(old), facts(new)
        # Manifests of older versions of edgeimg do not list everything.
        if before is None:
            continue
        if changes := _changes(before, after or {}):
            sections[section] = changes
    return Diff(old=old.contents.name, new=new.contents.name, sections=sections)


def _changes(before: Facts, after: Facts) -> tuple[Change, ...]:
    return tuple(
        Change(name=name, before=_comparable(before.get(name)), after=_comparable(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _comparable(value: Value | FileFacts) -> Value:
    """The form of a value in a difference: of a file, its size."""
    return value.size if isinstance(value, FileFacts) else value


def _image(manifest: Manifest) -> Facts:
    contents = manifest.contents
    return {
        "id": contents.id,
        "version": contents.version,
        "arch": contents.arch,
        "epoch": contents.epoch,
        "kernel": contents.kernel,
    }


def _k3s(manifest: Manifest) -> dict[str, str]:
    facts = manifest.contents.k3s
    return {name: str(value) for name, value in asdict(facts).items()} if facts else {}


def _edgeimg(manifest: Manifest) -> Facts | None:
    """The version that made it, and the beginning of the digest of each built-in part it used."""
    if not manifest.edgeimg:
        return None
    parts = {name: digest[:12] for name, digest in manifest.builtin.items()}
    return {"version": manifest.edgeimg, **parts}


def _services(manifest: Manifest) -> Facts | None:
    """Each service by what it is made of, and the beginning of its digest: any change shows."""
    services = manifest.contents.services
    if services is None:
        return None
    return {
        service.name: f"{service.kind} {service.source} ({service.digest[:12]})"
        for service in services
    }


_SECTIONS: Mapping[str, Callable[[Manifest], Facts | None]] = {
    "image": _image,
    "edgeimg": _edgeimg,
    "k3s": _k3s,
    "packages": lambda manifest: {
        package.name: package.version for package in manifest.contents.packages
    },
    "services": _services,
    "sizes": lambda manifest: manifest.sizes,
    "components": lambda manifest: manifest.contents.components,
    "kernel_config": lambda manifest: manifest.kernel_config,
    "files": lambda manifest: manifest.files,
}
"""What is compared, by section; None: the manifest does not list it."""
