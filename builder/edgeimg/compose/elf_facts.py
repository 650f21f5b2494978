"""Facts of an ELF file from a part of its bytes (System V ABI, pyelftools)."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE
from elftools.elf.segments import InterpSegment

from edgeimg.errors import ArchiveError
from edgeimg.tree import Content, Kind, Node, Span

ET_REL = 1
EF_ARM_EABI_VER5 = 0x0500_0000
EF_ARM_EABI_MASK = 0xFF00_0000
EF_ARM_ABI_FLOAT_SOFT = 0x200
EF_ARM_ABI_FLOAT_HARD = 0x400
DF_TEXTREL = 4
PF_X, PF_W = 1, 2
MAX_STRINGS = 64 << 20
_UNCHECKED = frozenset(
    (b"gets", b"sprintf", b"stpcpy", b"strcat", b"strcpy", b"vsprintf", b"wcscat", b"wcscpy")
)

_MACHINES = {number: name for name, number in ENUM_E_MACHINE.items()}
_DAMAGE = (
    ELFError,
    AssertionError,
    AttributeError,
    LookupError,
    OverflowError,
    ValueError,
    struct.error,
)
"""Errors of pyelftools for files with wrong headers."""


@dataclass(frozen=True, kw_only=True)
class ElfFacts:
    """The header and the dynamic section."""

    bits: int
    machine: str
    """`e_machine` as pyelftools spells it."""
    little: bool
    flags: int
    type: str
    """`ET_EXEC`, `ET_DYN`, `ET_REL` (objects and kernel modules)."""
    interpreter: str | None
    soname: str | None
    needed: tuple[str, ...]
    search: tuple[str, ...]
    """DT_RUNPATH, or else DT_RPATH."""
    dynamic: bool
    search_path: tuple[str, ...] = ()
    """The entries of both, empty ones (the current directory) too."""
    relro: bool = False
    """Its relocations are read-only once it runs."""
    executable_stack: bool = False
    writable_code: bool = False
    text_relocations: bool = False
    stack_protector: bool = False
    unchecked: tuple[str, ...] = ()
    """Functions it imports that fill buffers without knowing their size."""


def read(node: Node) -> ElfFacts | None:
    """The facts of the file, or None for other files. Raises ArchiveError for a damaged file."""
    return _read(node.content) if node.kind is Kind.FILE and node.size >= 52 else None


@lru_cache(maxsize=20_000)
def _read(content: Content) -> ElfFacts | None:
    with _open(content) as stream:
        start = stream.read(64)
        if start[:4] != b"\x7fELF":
            return None
        try:
            return _object(start) or _facts(ELFFile(stream))
        except (
            ELFError,
            KeyError,
            ValueError,
            UnicodeError,
            AssertionError,
            OverflowError,
        ) as error:
            raise ArchiveError(f"damaged ELF file: {error}") from error


def _object(header: bytes) -> ElfFacts | None:
    """The facts of a relocatable object from its header alone: a tree has thousands of them."""
    order = "<" if header[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", header, 16)
    if kind != ET_REL:
        return None
    (flags,) = struct.unpack_from(f"{order}I", header, 48 if header[4] == 2 else 36)
    return ElfFacts(
        bits=64 if header[4] == 2 else 32,
        machine=str(_MACHINES.get(machine, machine)),
        little=header[5] == 1,
        flags=flags,
        type="ET_REL",
        interpreter=None,
        soname=None,
        needed=(),
        search=(),
        dynamic=False,
    )


def _facts(elf: ELFFile) -> ElfFacts:
    interpreter, dynamic = None, None
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        elif isinstance(segment, DynamicSegment):
            dynamic = segment
    tags: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for tag in dynamic.iter_tags() if dynamic else ():
        numbers[str(tag.entry.d_tag)] = int(tag.entry.d_val)
        for kind in ("needed", "soname", "rpath", "runpath"):
            if tag.entry.d_tag == f"DT_{kind.upper()}":
                tags.setdefault(kind, []).append(str(getattr(tag, kind)))
    search = tags.get("runpath") or tags.get("rpath") or []
    symbols = _symbols(elf, dynamic, numbers)
    return ElfFacts(
        bits=elf.elfclass,
        machine=str(elf["e_machine"]),
        little=elf.little_endian,
        flags=elf["e_flags"],
        type=str(elf["e_type"]),
        interpreter=interpreter,
        soname=tags.get("soname", [None])[0],
        needed=tuple(tags.get("needed", ())),
        search=tuple(part for path in search for part in path.split(":") if part),
        dynamic=dynamic is not None,
        search_path=tuple(
            entry
            for kind in ("rpath", "runpath")
            for path in tags.get(kind, ())
            for entry in path.split(":")
        ),
        text_relocations="DT_TEXTREL" in numbers or bool(numbers.get("DT_FLAGS", 0) & DF_TEXTREL),
        stack_protector=b"__stack_chk_fail" in symbols,
        unchecked=tuple(sorted(name.decode() for name in _UNCHECKED & symbols)),
        **_memory(elf),
    )


def _memory(elf: ELFFile) -> dict[str, bool]:
    """The memory protections in the program headers. No PT_GNU_STACK: an executable stack."""
    stack, relro, writable_code = PF_X, False, False
    for segment in elf.iter_segments():
        kind, flags = segment["p_type"], segment["p_flags"]
        if kind == "PT_GNU_STACK":
            stack = flags
        relro = relro or kind == "PT_GNU_RELRO"
        writable_code = writable_code or (
            kind == "PT_LOAD" and flags & (PF_X | PF_W) == PF_X | PF_W
        )
    return {"relro": relro, "executable_stack": bool(stack & PF_X), "writable_code": writable_code}


def _symbols(
    elf: ELFFile, dynamic: DynamicSegment | None, numbers: dict[str, int]
) -> frozenset[bytes]:
    """All words of the dynamic string table: names of symbols, and some more."""
    size = numbers.get("DT_STRSZ", 0)
    if not dynamic or not 0 < size < MAX_STRINGS:
        return frozenset()
    _, offset = dynamic.get_table_offset("DT_STRTAB")
    if offset is None:
        return frozenset()
    elf.stream.seek(offset)
    return frozenset(elf.stream.read(size).split(b"\0"))


def _open(content: Content) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    return io.BufferedReader(_Window(content), 8192)


class _Window(io.RawIOBase):
    """A span as a seekable file."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self._file = span.opened()
        self._span, self._at = span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._span.size)[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._span.size - self._at))
        self._file.seek(self._span.offset + self._at)
        data = self._file.read(wanted) or b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
