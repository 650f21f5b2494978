"""What the values of a recipe may be: types that check, and say what they expected."""

from __future__ import annotations

import difflib
import math
import re
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
)

from edgeimg.recipe.rules import RULES

ArchName = Literal["x86-64", "arm64", "arm"]
ARCHITECTURE_NAMES: tuple[ArchName, ...] = get_args(ArchName)

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


def parse_size(value: object) -> int:
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


_VERSION = re.compile("[0-9A-Za-z][0-9A-Za-z.-]{0,31}")
_CANDIDATE = re.compile(
    "(.*?[0-9])[.-]?(alpha|beta|rc|pre|preview|dev|devel|snapshot|nightly"
    "|canary|milestone|m(?=[0-9])|a(?=[0-9])|b(?=[0-9])|next|test|testing)[.-]?[0-9]*",
    re.IGNORECASE,
)


def _version(text: str) -> str:
    if "~" in text or "^" in text:
        raise ValueError("gateways never see a version with '~' or '^': expected '1.0.99', '1.1.0'")
    if match := _CANDIDATE.fullmatch(text):
        raise ValueError(
            f"gateways take it for newer than {match[1]}, and would not update to that: expected "
            "a number below it, such as '1.0.99'"
        )
    if text.isalpha():
        raise ValueError("gateways update to larger numbers: expected a version such as '1.2.0'")
    if not _VERSION.fullmatch(text):
        raise ValueError("expected a version such as '1.2.0': at most 32 letters, digits, '.', '-'")
    return text


_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)")


def _port(entry: str) -> str:
    match = _PORT.fullmatch(entry)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last < 1 << 16:
        raise ValueError("expected a port such as '6443/tcp', or a range such as '30000-32767/tcp'")
    return entry


def _inside(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.removeprefix("!").split("/")):
        raise ValueError("expected a path in the image such as 'etc/resolv.conf'")
    return path


COMPRESSION = (
    r"^(none|lz4|lz4hc(,([0-9]|1[0-2]))?|lzma(,[0-9])?|deflate(,[0-9])?|zstd(,(1?[0-9]|2[0-2]))?)$"
)
_AS_WRITTEN = WithJsonSchema({"type": ["integer", "string"], "minimum": 0})
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0, lt=1 << 50), _AS_WRITTEN]
RoomSize = Annotated[int, BeforeValidator(parse_size), Field(ge=1 << 20, le=64 << 30), _AS_WRITTEN]
"""Of a partition. FAT has a least and a greatest size of its own."""
ImageId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
ImageVersion = Annotated[
    str,
    AfterValidator(_version),
    WithJsonSchema({"type": "string", "pattern": f"^{_VERSION.pattern}$"}),
]
"""As systemd-sysupdate sees and orders it: '~' and '^' it ignores, and '-rc1' is the newer one."""
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
PackagePattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*][a-z0-9+.*-]+$")]
"""A package, or a glob over names of packages."""
Suite = Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*$")]
Component = Literal["main", "contrib", "non-free", "non-free-firmware"]
"""Of the Debian archive."""

ToolGroup = Literal["iso"]
"""Programs of the build host that not every recipe needs (edgeimg.lock.groups.MORE_TOOLS)."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
"""Of the kernel command line: printable ASCII without blanks."""
PathGlob = Annotated[str, StringConstraints(pattern=r"^!?[^/!\x00-\x1f][^\x00-\x1f]{0,255}$")]
ModuleGlob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_*?\[][^\x00-\x20]{0,127}$")]
OverlayPath = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f][^\x00-\x1f]{0,255}$")]
RootPath = Annotated[
    str,
    StringConstraints(pattern=r"^[^/!\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,255}$"),
    AfterValidator(_inside),
]
"""In the image, without the leading `/`."""
MaskPath = Annotated[
    str,
    StringConstraints(pattern=r"^!?[^/!\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,255}$"),
    AfterValidator(_inside),
]
LinkTarget = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,1024}$")]
ArchKey = Annotated[str, AfterValidator(_known_arch)]
Gate = Literal[
    "standin", "unsigned-index", "dirty-overlay", "unsigned-boot", "budget", "checks", "boot"
]
"""What holds a release back."""
Accepted = Annotated[str, StringConstraints(max_length=512), AfterValidator(_accepted)]
Port = Annotated[str, AfterValidator(_port)]
ConfigValue = Annotated[JsonValue, AfterValidator(_exact)]
