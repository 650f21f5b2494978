"""The lock as a TOML file: sorted, one line per package, without time stamps or host names.

    format = 1
    recipe = "<sha256>"
    suite = "trixie"

    [image.arm64.packages.root]
    systemd = "257.13-1~deb13u1 arm64 debian pool/main/s/systemd/….deb 2921364 <sha256>"

A package is one line so that a version bump is a diff of one line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomli_w

from edgeimg import arch
from edgeimg.cache.store import disk_errors, write_whole
from edgeimg.errors import LockError
from edgeimg.lock.model import ArchLock, ImagePin, K3sAsset, Lock, Package
from edgeimg.text import bounded, toml_text

FORMAT = 1
HEADER = "# Written by `edgeimg lock`; change the recipe instead, or run `edgeimg lock --update`.\n"
REPAIR = "restore the file, or write it anew with `edgeimg lock --update`"
_MAX_BYTES = 8 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = re.compile(
    r"(?P<version>[0-9][0-9A-Za-z.+~:-]*) (?P<arch>[a-z0-9]+) (?P<archive>[a-z][a-z-]*) "
    r"(?P<path>pool/[0-9A-Za-z.+~/_-]+\.deb) (?P<size>[0-9]{1,11}) (?P<sha256>[0-9a-f]{64})"
)
_IMAGE = re.compile(
    r"(?P<digest>sha256:[0-9a-f]{64}) (?P<reference>\S+)"
    r"(?: (?P<source>[^\s@]+@sha256:[0-9a-f]{64}))?"
)
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def load(path: Path) -> Lock:
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
    except _MalformedError as error:
        raise LockError(f"{path}: {error}", hint=REPAIR) from None


def write(lock: Lock, path: Path) -> bool:
    """Write a lock file by rename; return whether its content changed.

    Raises HostError when the place is full or not writable.
    """
    data = dumps(lock).encode()
    with disk_errors(path):
        if path.is_file() and path.read_bytes() == data:
            return False
    write_whole(path, data)
    return True


def dumps(lock: Lock) -> str:
    """The file's text; the same lock always gives the same text."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "recipe": lock.recipe_digest,
        "suite": lock.suite,
        "image": {name: _image_table(image) for name, image in sorted(lock.images.items())},
        "tools": {
            group: {host: _package_table(packages) for host, packages in sorted(hosts.items())}
            for group, hosts in sorted(lock.tools.items())
        },
    }
    return HEADER + tomli_w.dumps(document)


def _image_table(image: ArchLock) -> dict[str, Any]:
    table: dict[str, Any] = {"unsigned_index": True} if image.unsigned_index else {}
    for name, asset in (("k3s", image.k3s), ("airgap", image.airgap)):
        if asset is not None:
            size = {} if asset.size is None else {"size": asset.size}
            told = {"version": asset.version, "url": asset.url, **size, "sha256": asset.sha256}
            table[name] = told
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
        p.name: f"{p.version} {p.arch} {p.archive} {p.path} {p.size} {p.sha256}"
        for p in sorted(packages)
    }


class _MalformedError(Exception):
    """What is wrong, and at which key."""


def _lock(document: dict[str, Any]) -> Lock:
    _keys(document, "", required={"format", "recipe", "suite", "image"}, optional={"tools"})
    if document["format"] != FORMAT:
        raise _MalformedError(f"format is {document['format']!r}, this edgeimg reads {FORMAT}")
    return Lock(
        recipe_digest=_text(document["recipe"], "recipe", _SHA256),
        suite=_text(document["suite"], "suite", re.compile("[a-z]+")),
        images={
            name: _image(table, f"image.{name}")
            for name, table in _table(document["image"], "image", arches=True).items()
        },
        tools={
            group: {
                host: _packages(table, f"tools.{group}.{host}")
                for host, table in _table(hosts, f"tools.{group}", arches=True).items()
            }
            for group, hosts in _table(document.get("tools", {}), "tools").items()
        },
    )


def _image(value: Any, key: str) -> ArchLock:
    table = _table(value, key)
    _keys(table, key, required={"packages"}, optional={"airgap", "images", "k3s", "unsigned_index"})
    unsigned = table.get("unsigned_index", False)
    if not isinstance(unsigned, bool):
        raise _MalformedError(f"{key}.unsigned_index: expected true or false")
    groups = _table(table["packages"], f"{key}.packages")
    return ArchLock(
        groups={name: _packages(rows, f"{key}.packages.{name}") for name, rows in groups.items()},
        k3s=_k3s(table["k3s"], f"{key}.k3s") if "k3s" in table else None,
        airgap=_k3s(table["airgap"], f"{key}.airgap") if "airgap" in table else None,
        images={
            name: _pin(row, f"{key}.images.{name}")
            for name, row in _table(table.get("images", {}), f"{key}.images").items()
        },
        unsigned_index=unsigned,
    )


def _k3s(value: Any, key: str) -> K3sAsset:
    table = _table(value, key)
    _keys(table, key, required={"version", "url", "sha256"}, optional={"size"})
    size = table.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size <= 0):
        raise _MalformedError(f"{key}.size: expected a number of bytes")
    return K3sAsset(
        version=_text(table["version"], f"{key}.version", re.compile(r"v[0-9A-Za-z.+-]+")),
        url=_text(table["url"], f"{key}.url", re.compile(r"https?://\S+")),
        size=size,
        sha256=_text(table["sha256"], f"{key}.sha256", _SHA256),
    )


def _pin(value: Any, key: str) -> ImagePin:
    match = _IMAGE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise _MalformedError(f"{key}: expected 'sha256:… REFERENCE [SOURCE]', found {value!r}")
    return ImagePin(
        digest=match["digest"], reference=match["reference"], source=match["source"] or ""
    )


def _packages(value: Any, key: str) -> tuple[Package, ...]:
    packages = []
    for name, row in _table(value, key).items():
        match = _PACKAGE.fullmatch(row) if isinstance(row, str) else None
        if not match or not _NAME.fullmatch(name) or ".." in match["path"].split("/"):
            raise _MalformedError(
                f"{key}.{name}: expected 'VERSION ARCH ARCHIVE pool/….deb SIZE SHA256', "
                f"found {row!r}"
            )
        fields: dict[str, Any] = {**match.groupdict(), "size": int(match["size"])}
        packages.append(Package(name=name, **fields))
    return tuple(sorted(packages))


def _table(value: Any, key: str, *, arches: bool = False) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedError(f"{key}: expected a table, found {value!r}")
    known = {entry.name for entry in arch.ARCHITECTURES}
    if arches and (unknown := sorted(value.keys() - known)):
        raise _MalformedError(f"{key}.{unknown[0]}: no such architecture")
    return value


def _keys(table: dict[str, Any], key: str, *, required: set[str], optional: set[str]) -> None:
    prefix = f"{key}." if key else ""
    if missing := sorted(required - table.keys()):
        raise _MalformedError(f"{prefix}{missing[0]} is missing")
    if unknown := sorted(table.keys() - required - optional):
        raise _MalformedError(f"{prefix}{unknown[0]}: unknown key")


def _text(value: Any, key: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _MalformedError(f"{key}: expected {pattern.pattern}, found {value!r}")
    return value
