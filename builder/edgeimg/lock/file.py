"""The lock as a TOML file: sorted, one line per package, without time stamps or host names.

    format = 1
    recipe = "<sha256>"
    suite = "trixie"

    [image.arm64.packages.root]
    systemd = "257.13-1~deb13u1 arm64 debian pool/main/s/systemd/….deb 2921364 <sha256>"

A package is one line so that a version bump is a diff of one line. A package of another suite
than the lock's has that suite as its last word.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import tomli_w

from edgeimg import arch
from edgeimg.cache.store import disk_errors, write_whole
from edgeimg.errors import LockError
from edgeimg.lock import values
from edgeimg.lock.model import (
    ArchLock,
    BuiltIn,
    ImagePin,
    K3sAsset,
    KernelKind,
    KernelPin,
    Lock,
    Package,
)
from edgeimg.text import bounded, toml_text

FORMAT = 1
HEADER = "# Written by `edgeimg lock`; change the recipe instead, or run `edgeimg lock --update`.\n"
REPAIR = "restore the file, or write it anew with `edgeimg lock --update`"
_MAX_BYTES = 8 << 20

_PACKAGE = re.compile(
    r"(?P<version>[0-9][0-9A-Za-z.+~:-]*) (?P<arch>[a-z0-9]+) (?P<archive>[a-z][a-z-]*) "
    r"(?P<path>pool/[0-9A-Za-z.+~/_-]+\.deb) (?P<size>[0-9]{1,20}) (?P<sha256>[0-9a-f]{64})"
    r"(?: (?P<suite>[a-z]+(?:-[a-z]+)*))?"
)
_IMAGE = re.compile(
    r"(?P<digest>sha256:[0-9a-f]{64}) (?P<reference>[^\s\x00-\x1f\x7f-\x9f]+)"
    r"(?: (?P<source>[^\s@\x00-\x1f\x7f-\x9f]+@sha256:[0-9a-f]{64}))?"
)
_PATH = re.compile(r"[^/\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*")
"""In the project."""
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_GROUP = re.compile(r"[a-z][a-z0-9-]*")
_URL = re.compile(r"https?://[0-9A-Za-z\[][!-~]*")
_ARCHITECTURES = {"all", *(entry.debian for entry in arch.ARCHITECTURES)}
"""Of packages, as Debian calls them."""
_MAX_SIZE = 4 << 30
"""Largest size of one input in bytes. The largest package of Debian is half as large."""


def read_lock(path: Path) -> Lock:
    """Read a lock file. Raises LockError naming the key that is missing or malformed."""
    try:
        document = toml_text.parse(toml_text.decode(bounded.read(path, _MAX_BYTES)))
    except FileNotFoundError:
        raise LockError(f"there is no {path}", hint="make it with `edgeimg lock`") from None
    except OSError as error:
        raise LockError(f"cannot read {path}: {error.strerror}", hint=REPAIR) from None
    except ValueError as error:
        raise LockError(f"cannot read {path}:{error}", hint=REPAIR) from None
    try:
        return _lock(document)
    except values.MalformedError as error:
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
        raise LockError(f"{path}: {text}", hint=REPAIR) from None


def write_lock(lock: Lock, path: Path) -> bool:
    """Write a lock file by rename; return whether its content changed.

    Raises HostError when the place is full or not writable.
    """
    data = encode_lock(lock).encode()
    with disk_errors(path):
        if path.is_file() and path.read_bytes() == data:
            return False
    write_whole(path, data)
    return True


def encode_lock(lock: Lock) -> str:
    """The file's text; the same lock always gives the same text."""
    document: dict[str, object] = {
        "format": FORMAT,
        "recipe": lock.recipe_digest,
        "suite": lock.suite,
        **(
            {
                "builtin": {
                    "version": lock.builtin.version,
                    "parts": dict(sorted(lock.builtin.parts.items())),
                }
            }
            if lock.builtin
            else {}
        ),
        "image": {name: _image_table(image) for name, image in sorted(lock.images.items())},
        "tools": {
            group: {host: _package_table(packages) for host, packages in sorted(hosts.items())}
            for group, hosts in sorted(lock.tools.items())
        },
    }
    return HEADER + tomli_w.dumps(document)


def _image_table(image: ArchLock) -> dict[str, object]:
    table: dict[str, object] = {"unsigned_index": True} if image.unsigned_index else {}
    for name, asset in (("k3s", image.k3s), ("airgap", image.airgap)):
        if asset is not None:
            size = {} if asset.size is None else {"size": asset.size}
            fields = {"version": asset.version, "url": asset.url, **size, "sha256": asset.sha256}
            table[name] = fields
    if image.kernel:
        table["kernel"] = {image.kernel.kind: image.kernel.path, "sha256": image.kernel.sha256}
    if image.images:
        table["images"] = {
            name: " ".join(filter(None, (pin.digest, pin.reference, pin.source)))
            for name, pin in sorted(image.images.items())
        }
    table["packages"] = {
        group: _package_table(packages) for group, packages in sorted(image.groups.items())
    }
    return table


def _package_table(packages: tuple[Package, ...]) -> dict[str, str]:
    return {
        p.name: f"{p.version} {p.arch} {p.archive} {p.path} {p.size} {p.sha256} {p.suite}".rstrip()
        for p in sorted(packages)
    }


def _lock(document: dict[str, object]) -> Lock:
    values.keys(
        document, "", required={"format", "recipe", "suite", "image"}, optional={"builtin", "tools"}
    )
    if document["format"] != FORMAT:
        raise values.MalformedError(
            f"format is {document['format']!r}, this edgeimg reads {FORMAT}"
        )
    lock = Lock(
        recipe_digest=values.text(document["recipe"], "recipe", values.SHA256),
        suite=values.text(document["suite"], "suite", re.compile("[a-z]+")),
        images={
            name: _image(table, f"image.{name}")
            for name, table in values.table(document["image"], "image", arches=True).items()
        },
        builtin=_builtin(document["builtin"]) if "builtin" in document else None,
        tools={
            group: {
                host: _packages(table, f"tools.{group}.{host}")
                for host, table in values.table(hosts, f"tools.{group}", arches=True).items()
            }
            for group, hosts in values.table(document.get("tools", {}), "tools", _GROUP).items()
        },
    )
    _require_unique_names(lock)
    return lock


def _require_unique_names(lock: Lock) -> None:
    """One file of an archive is one package, wherever the lock names it."""
    names: dict[tuple[str, str], Package] = {}
    image_packages = (package for image in lock.images.values() for package in image.packages())
    tools = (group for hosts in lock.tools.values() for group in hosts.values())
    for package in (*image_packages, *(package for group in tools for package in group)):
        first = names.setdefault((package.archive, package.path), package)
        if first != replace(package, suite=first.suite):
            raise values.MalformedError(
                f"{package.path} is {first.name} {first.version} {first.arch} in one row and "
                f"{package.name} {package.version} {package.arch}, or has another size or sha256, "
                "in another"
            )
    for name, image in lock.images.items():
        if image.k3s and image.airgap and image.k3s.sha256 == image.airgap.sha256:
            raise values.MalformedError(f"image.{name}: k3s and airgap are one file")


def _builtin(value: object) -> BuiltIn:
    table = values.table(value, "builtin")
    values.keys(table, "builtin", required={"version", "parts"}, optional=set())
    return BuiltIn(
        version=values.text(table["version"], "builtin.version", re.compile(r"[0-9A-Za-z.+-]+")),
        parts={
            name: values.text(digest, f"builtin.parts.{name}", values.SHA256)
            for name, digest in values.table(table["parts"], "builtin.parts").items()
        },
    )


def _image(value: object, key: str) -> ArchLock:
    table = values.table(value, key)
    optional = {"airgap", "images", "k3s", "kernel", "unsigned_index"}
    values.keys(table, key, required={"packages"}, optional=optional)
    unsigned = table.get("unsigned_index", False)
    if not isinstance(unsigned, bool):
        raise values.MalformedError(f"{key}.unsigned_index: expected true or false")
    groups = values.table(table["packages"], f"{key}.packages")
    for group in groups:
        kind, colon, name = group.partition(":")
        values.text(kind, f"{key}.packages.{group}", _GROUP)
        if colon:
            values.reference(name, f"{key}.packages.{group}")
    return ArchLock(
        groups={name: _packages(rows, f"{key}.packages.{name}") for name, rows in groups.items()},
        k3s=_k3s(table["k3s"], f"{key}.k3s") if "k3s" in table else None,
        airgap=_k3s(table["airgap"], f"{key}.airgap") if "airgap" in table else None,
        images={
            values.reference(name, f"{key}.images.{name}"): _pin(row, f"{key}.images.{name}")
            for name, row in values.table(table.get("images", {}), f"{key}.images").items()
        },
        kernel=_kernel(table["kernel"], f"{key}.kernel") if "kernel" in table else None,
        unsigned_index=unsigned,
    )


def _kernel(value: object, key: str) -> KernelPin:
    table = values.table(value, key)
    kind: KernelKind = "files" if "files" in table else "deb"
    values.keys(table, key, required={kind, "sha256"}, optional=set())
    return KernelPin(
        kind=kind,
        path=values.text(table[kind], f"{key}.{kind}", _PATH),
        sha256=values.text(table["sha256"], f"{key}.sha256", values.SHA256),
    )


def _k3s(value: object, key: str) -> K3sAsset:
    table = values.table(value, key)
    values.keys(table, key, required={"version", "url", "sha256"}, optional={"size"})
    size = table.get("size")
    if size is not None and not (type(size) is int and 0 < size <= _MAX_SIZE):
        raise values.MalformedError(f"{key}.size: expected a number of bytes up to {_MAX_SIZE}")
    return K3sAsset(
        version=values.text(table["version"], f"{key}.version", re.compile(r"v[0-9A-Za-z.+-]+")),
        url=values.text(table["url"], f"{key}.url", _URL),
        size=size,
        sha256=values.text(table["sha256"], f"{key}.sha256", values.SHA256),
    )


def _pin(value: object, key: str) -> ImagePin:
    match = _IMAGE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise values.MalformedError(
            f"{key}: expected 'sha256:… REFERENCE [SOURCE]', found {value!r}"
        )
    return ImagePin(
        digest=match["digest"], reference=match["reference"], source=match["source"] or ""
    )


def _packages(value: object, key: str) -> tuple[Package, ...]:
    packages = []
    for name, row in values.table(value, key).items():
        match = _PACKAGE.fullmatch(row) if isinstance(row, str) else None
        if not match or not _NAME.fullmatch(name) or values.climbs(match["path"]):
            raise values.MalformedError(
                f"{key}.{name}: expected 'VERSION ARCH ARCHIVE pool/….deb SIZE SHA256 [SUITE]', "
                f"found {row!r}"
            )
        fields = match.groupdict("")
        size = int(fields.pop("size"))
        if fields["arch"] not in _ARCHITECTURES:
            raise values.MalformedError(f"{key}.{name}: no such architecture: {fields['arch']!r}")
        if not 0 < size <= _MAX_SIZE:
            raise values.MalformedError(
                f"{key}.{name}: expected 1 to {_MAX_SIZE} bytes, found {size}"
            )
        packages.append(Package(name=name, size=size, **fields))
    return tuple(sorted(packages))
