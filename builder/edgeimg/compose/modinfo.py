"""The `.modinfo` section and the exported symbols of a kernel module."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from edgeimg.errors import ArchiveError
from edgeimg.streams import decoding
from edgeimg.streams.limits import UNTRUSTED

_MODULE = replace(UNTRUSTED, bytes=256 << 20)


@dataclass(frozen=True, kw_only=True)
class ModInfo:
    """One module's facts, names with underscores."""

    depends: tuple[str, ...]
    before: tuple[str, ...]
    """Soft dependencies to load before it (`softdep: pre`)."""
    after: tuple[str, ...]
    softdeps: tuple[str, ...]
    """The soft dependencies as written: `pre: a b post: c`."""
    weakdeps: tuple[str, ...]
    aliases: tuple[str, ...]
    symbols: tuple[str, ...]
    firmware: tuple[str, ...] = ()
    """Files below /usr/lib/firmware that it may request; some are globs."""
    release: str = ""
    """The kernel that it is built for, as in `uname -r`: the first word of `vermagic`."""


def decompress(data: bytes, path: str) -> bytes:
    """The module itself from `.ko`, `.ko.xz` or `.ko.zst`. Raises ArchiveError when damaged."""
    method = decoding.SUFFIXES.get(path.rpartition(".ko")[2])
    return decoding.unpacked(data, path, method=method, limits=_MODULE)


def parse(data: bytes, path: str) -> ModInfo:
    """The facts of an uncompressed module. Raises ArchiveError when it is no ELF file."""
    try:
        sections = _sections(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ArchiveError(f"{path} is not a kernel module: {error}") from error
    fields: dict[str, list[str]] = {}
    for entry in sections.get(".modinfo", b"").split(b"\0"):
        key, _, value = entry.decode("utf-8", "replace").partition("=")
        fields.setdefault(key, []).append(value)
    softdeps = tuple(fields.get("softdep", ()))
    exported = sections.get("__ksymtab_strings", b"").split(b"\0")
    return ModInfo(
        depends=_names(",".join(fields.get("depends", ())).replace(",", " ")),
        before=tuple(name for text in softdeps for name in _soft(text, "pre:")),
        after=tuple(name for text in softdeps for name in _soft(text, "post:")),
        softdeps=softdeps,
        weakdeps=tuple(fields.get("weakdep", ())),
        aliases=tuple(fields.get("alias", ())),
        symbols=tuple(sorted({symbol.decode("ascii") for symbol in exported if symbol})),
        firmware=tuple(sorted(set(fields.get("firmware", ())))),
        release=fields.get("vermagic", [""])[0].partition(" ")[0],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.replace("-", "_") for word in text.split())


def _soft(text: str, kind: str) -> tuple[str, ...]:
    current, words = "", []
    for word in text.split():
        if word.endswith(":"):
            current = word
        elif current == kind:
            words.append(word)
    return _names(" ".join(words))


def _sections(data: bytes) -> dict[str, bytes]:
    """Sections of a little-endian ELF file by name (System V ABI, chapter 4).

    A reader of our own: a tree has some 1,500 modules, and pyelftools takes milliseconds for each.
    """
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError("no little-endian ELF file")
    wide = data[4] == 2
    table, size, count, names = _header(data, wide)
    entry = struct.Struct("<IIQQQQ" if wide else "<IIIIII")
    headers = [entry.unpack_from(data, table + size * index) for index in range(count)]
    strings = data[headers[names][4] : headers[names][4] + headers[names][5]]
    return {
        strings[name : strings.index(b"\0", name)].decode("ascii", "replace"): (
            data[offset : offset + length]
        )
        for name, kind, _, _, offset, length in headers
        if kind not in (0, 8)
    }


def _header(data: bytes, wide: bool) -> tuple[int, int, int, int]:
    (table,) = struct.unpack_from("<Q", data, 40) if wide else struct.unpack_from("<I", data, 32)
    size, count, names = struct.unpack_from("<HHH", data, 58 if wide else 46)
    return table, size, count, names
