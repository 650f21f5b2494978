"""What is different between two images, told from their manifests alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeimg.errors import ImageError
from edgeimg.image.manifest import SCHEMA
from edgeimg.text import json_text

Value = str | int | None


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

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)


def read(path: Path) -> dict[str, Any]:
    """The manifest in the file `path`, or beside the image file `path`.

    Raises ImageError when it is no manifest of ours.
    """
    name = path.name.removesuffix(".zst").removesuffix(".raw")
    manifest = path if path.name.endswith(".json") else path.with_name(f"{name}.manifest.json")
    try:
        data = json_text.read(manifest)
        if data["schema"] != SCHEMA:
            raise ImageError(f"{manifest} is a manifest of another kind: {data['schema']}")
        compare(data, data)
    except OSError as error:
        raise ImageError(
            f"cannot read {manifest}: {error.strerror}",
            hint="name two .manifest.json files, or images that have theirs beside them",
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{manifest} is no manifest of an image, or is damaged: {json_text.reason(error)}"
        ) from error
    return dict(data)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Diff:
    """Everything that differs between two manifests (docs/reference/manifest.md)."""
    sections: dict[str, tuple[Change, ...]] = {}
    for section, facts in _SECTIONS.items():
        before, after = facts(old), facts(new)
        # Manifests of older versions of edgeimg do not list everything.
        if section in _ADDED and section not in old:
            continue
        if changes := _changes(before, after):
            sections[section] = changes
    return Diff(old=_label(old), new=_label(new), sections=sections)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name=name, before=_shown(before.get(name)), after=_shown(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _shown(value: Any) -> Value:
    """What is told of a value: of a file (size, component, digest) the size."""
    if isinstance(value, list):
        return int(value[0])
    return value if isinstance(value, int | None) else str(value)


def _label(manifest: Mapping[str, Any]) -> str:
    image = manifest["image"]
    return f"{image['id']}_{image['version']}_{image['arch']}"


def _packages(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {package["name"]: package["version"] for package in manifest["packages"]}


def _services(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Each service by what it is made of, and the beginning of its digest: any change shows."""
    return {
        service["name"]: f"{service['kind']} {service['source']} ({service['digest'][:12]})"
        for service in manifest.get("services", ())
    }


def _edgeimg(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The version that made it, and the beginning of the digest of each built-in part it used."""
    facts = manifest.get("edgeimg", {"version": None, "builtin": {}})
    parts = {name: digest[:12] for name, digest in facts["builtin"].items()}
    return {"version": facts["version"], **parts}


def _k3s(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) for name, value in manifest["k3s"].items()}


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "image": lambda manifest: {**manifest["image"], "kernel": manifest["kernel"]},
    "edgeimg": _edgeimg,
    "k3s": _k3s,
    "packages": _packages,
    "services": _services,
    "sizes": lambda manifest: dict(manifest["sizes"]),
    "components": lambda manifest: dict(manifest["components"]),
    "kernel_config": lambda manifest: dict(manifest.get("kernel_config", {})),
    "files": lambda manifest: dict(manifest.get("files", {})),
}
_ADDED = ("edgeimg", "kernel_config", "files", "services")
