"""Small Debian packages and ELF files, made as a test wants them: sound or hostile."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.sources import deb
from edgeimg.sources.deb import Deb

MACHINES = {"EM_X86_64": 62, "EM_AARCH64": 183, "EM_ARM": 40, "EM_RISCV": 243}
Member = tuple[tarfile.TarInfo, bytes]


def member(
    name: str,
    content: bytes = b"",
    *,
    type: bytes = tarfile.REGTYPE,
    link: str = "",
    mode: int = 0o644,
) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = type, link, mode, len(content)
    return info, content


def tar(members: Iterable[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def ar(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, content in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def deb_bytes(
    members: Iterable[Member], *, name: str = "sample", control: str = "", conffiles: str = ""
) -> bytes:
    """A package whose data archive has exactly these members."""
    text = f"Package: {name}\nVersion: 1.0\nArchitecture: all\n{control}"
    files = [member("./control", text.encode())]
    if conffiles:
        files.append(member("./conffiles", conffiles.encode()))
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar(files)),
            "data.tar.xz": lzma.compress(tar(members)),
        }
    )


def read_deb(data: bytes, directory: Path, *, name: str = "sample") -> Deb:
    """What `deb.read` makes of a package's bytes."""
    digest = hashlib.sha256(data).hexdigest()
    path = directory / f"{digest}.deb"
    path.write_bytes(data)
    return deb.read(path, digest, store=Store(directory / "cache"), origin=f"package:{name}")


def make_deb(
    directory: Path, files: Mapping[str, bytes], *, name: str = "sample", control: str = ""
) -> Deb:
    """A package with these files."""
    members = [member(f"./{path}", content) for path, content in files.items()]
    return read_deb(deb_bytes(members, name=name, control=control), directory, name=name)


def elf(
    arch: Arch,
    *,
    interpreter: str | None = None,
    needed: Iterable[str] = (),
    soname: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    flags: int | None = None,
    dynamic: bool = True,
    pie: bool = True,
    stack: int | None = 6,
    relro: bool = True,
    text_relocations: bool = False,
    load: int = 5,
    symbols: Iterable[str] = (),
) -> bytes:
    """A little-endian ELF file with just the parts that tell what it is and what it needs.

    `stack` and `load` are flags of program headers (1 executable, 2 writable, 4 readable).
    """
    wide = arch.elf_class == 64
    word = "Q" if wide else "I"
    strings = b"\0"
    tags: list[tuple[int, int]] = []
    for tag, texts in ((1, list(needed)), (14, [soname]), (15, [rpath]), (29, [runpath])):
        for text in texts:
            if text is not None:
                tags.append((tag, len(strings)))
                strings += text.encode() + b"\0"
    strings += b"".join(symbol.encode() + b"\0" for symbol in symbols)
    interp = interpreter.encode() + b"\0" if interpreter else b""
    header_size, program_size = (64, 56) if wide else (52, 32)
    marks = [(0x6474E551, stack)] if stack is not None else []
    marks += [(0x6474E552, 4)] if relro and dynamic else []
    count = 1 + bool(interp) + dynamic + len(marks)
    at = header_size + program_size * count
    interp_at, at = at, at + len(interp)
    strings_at, at = at, at + len(strings)
    at += -at % 8
    tags += [(5, strings_at), (10, len(strings)), *([(22, 0)] if text_relocations else ()), (0, 0)]
    table = b"".join(struct.pack(f"<{word}{word}", *tag) for tag in tags) if dynamic else b""
    end = at + len(table)
    segments = [_segment(wide, 1, 0, end, load)]
    if interp:
        segments.append(_segment(wide, 3, interp_at, len(interp)))
    if dynamic:
        segments.append(_segment(wide, 2, at, len(table)))
    segments += [_segment(wide, kind, 0, 0, mark) for kind, mark in marks]
    if flags is None:
        flags = 0x0500_0400 if arch.elf_hard_float else 0
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    kind = 3 if dynamic and pie else 2
    head = ident + struct.pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        kind, MACHINES[arch.elf_machine], 1, 0, header_size, 0, flags,
        header_size, program_size, count, 0, 0, 0,
    )  # fmt: skip
    body = head + b"".join(segments) + interp + strings
    return body + bytes(at - len(body)) + table


def _segment(wide: bool, kind: int, offset: int, size: int, flags: int = 4) -> bytes:
    if wide:
        return struct.pack("<IIQQQQQQ", kind, flags, offset, offset, offset, size, size, 8)
    return struct.pack("<IIIIIIII", kind, offset, offset, offset, size, size, flags, 8)


def module(
    arch: Arch, modinfo: Mapping[str, str | list[str]], symbols: Iterable[str] = ()
) -> bytes:
    """A kernel module: a relocatable object with `.modinfo` and exported symbols."""
    entries = [
        f"{key}={value}"
        for key, values in modinfo.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    sections = {
        ".modinfo": "".join(f"{entry}\0" for entry in entries).encode(),
        "__ksymtab_strings": "".join(f"{symbol}\0" for symbol in symbols).encode(),
    }
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    sections[".shstrtab"] = names
    wide = arch.elf_class == 64
    header_size, entry = (64, "<IIQQQQIIQQ") if wide else (52, "<IIIIIIIIII")
    body, table = b"", struct.pack(entry, *[0] * 10)
    for name, content in sections.items():
        kind = 3 if name == ".shstrtab" else 1
        where = (names.index(name.encode() + b"\0"), kind, 0, 0, header_size + len(body))
        table += struct.pack(entry, *where, len(content), 0, 0, 1, 0)
        body += content
    body += bytes(-(header_size + len(body)) % 8)
    word = "Q" if wide else "I"
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    flags = 0x0500_0000 if arch.elf_hard_float else 0
    head = ident + struct.pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        1, MACHINES[arch.elf_machine], 1, 0, 0, header_size + len(body), flags,
        header_size, 0, 0, struct.calcsize(entry), len(sections) + 1, len(sections),
    )  # fmt: skip
    return head + body + table
