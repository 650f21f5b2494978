"""The configuration of a container image, checked before it is used.

Format: image-spec 1.1, config.md. Errors are ValueErrors that name the field.
"""

from __future__ import annotations

import re
from typing import Any

from edgeimg.arch import Arch
from edgeimg.text.json_text import JsonObject

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_USER = re.compile(r"[A-Za-z0-9_.$-]{0,64}(:[A-Za-z0-9_.$-]{1,64})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+")
_ALIASES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
"""Other names of architectures, as containerd reads them (platforms, normalizeArch)."""
_LARGEST_ID = (1 << 32) - 2
_TEXT = 1 << 16


def digest(value: Any) -> str:
    """A `sha256:…` digest."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"not a sha256 digest: {_short(value)}")
    return value


def texts(value: Any, label: str) -> tuple[str, ...]:
    """A list of texts without NUL. None becomes an empty list."""
    items = [] if value is None else value
    if not isinstance(items, list) or not all(
        isinstance(text, str) and "\0" not in text and len(text) <= _TEXT for text in items
    ):
        raise ValueError(f"{label} should be a list of texts, and is {_short(value)}")
    return tuple(items)


def mapping(value: Any, label: str) -> JsonObject:
    """An object. None becomes an empty one."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{label} should be an object, and is {_short(value)}")
    return value or {}


def run(config: JsonObject) -> JsonObject:
    """How a container is run: the field `config`, every part of which is of its kind."""
    settings = mapping(config.get("config"), "config")
    for key in ("Entrypoint", "Cmd", "OnBuild", "Shell"):
        texts(settings.get(key), key)
    for entry in texts(settings.get("Env"), "Env"):
        name = entry.partition("=")[0]
        if not name or not name.isprintable():
            raise ValueError(f"Env should be a list of NAME=VALUE, and has {_short(entry)}")
    for key in ("ExposedPorts", "Volumes", "Labels"):
        mapping(settings.get(key), key)
    workdir = settings.get("WorkingDir") or "/"
    if not isinstance(workdir, str) or not workdir.startswith("/") or not workdir.isprintable():
        raise ValueError(f"WorkingDir should be an absolute path, and is {_short(workdir)}")
    user = settings.get("User") or ""
    if not isinstance(user, str) or not _USER.fullmatch(user) or not _in_range(user):
        raise ValueError(f"User should be a name or number, and is {_short(user)}")
    return settings


def rank(platform: JsonObject | None, arch: Arch) -> int | None:
    """How well a platform fits the gateway's processor: 0 is best, None does not fit.

    As containerd orders them: an older variant runs, a newer one may not. An entry without a
    platform may be for any.
    """
    if not platform or not platform.get("architecture"):
        return 0
    system = str(platform.get("os") or "linux").lower()
    name = str(platform["architecture"]).lower()
    goarch, variant = _ALIASES.get(name, (name, ""))
    if (system, goarch) != ("linux", arch.goarch):
        return None
    variant = str(platform.get("variant") or variant)
    variant = f"v{variant}" if variant.isdigit() else variant
    if not variant:
        return 1  # the first variant; a platform that names it is preferred
    return 2 * arch.oci_variants.index(variant) if variant in arch.oci_variants else None


def platform_name(platform: JsonObject) -> str:
    """`linux/arm/v7`."""
    parts = (platform.get(key) for key in ("os", "architecture", "variant"))
    return "/".join(str(part)[:40] for part in parts if part) or "an unnamed platform"


def _in_range(user: str) -> bool:
    return all(
        len(part) <= 10 and int(part) <= _LARGEST_ID
        for part in user.split(":")
        if _NUMBER.fullmatch(part)
    )


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
