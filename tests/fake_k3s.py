"""A binary shaped like K3s' release asset, made in milliseconds, with every part adjustable."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field

import zstandard
from edgeimg.arch import ARM, ARM64, X86_64, Arch

VERSION = "v1.35.0+k3s1"
_MACHINES = {X86_64.name: 62, ARM64.name: 183, ARM.name: 40}
LINKS = {"containerd": "k3s", "ctr": "k3s", "kubectl": "k3s", "bridge": "cni"}


def elf(
    arch: Arch, payload: bytes = b"", *, interpreter: bool = False, stack: bool = False
) -> bytes:
    """An ELF executable with one PT_LOAD segment that is the whole file.

    With `stack` it asks for one that is not executable (PT_GNU_STACK), as linkers write it.
    """
    wide = arch.elf_class == 64
    kinds = [(1, 5), (3, 5)] if interpreter else [(1, 5)]
    kinds += [(0x6474E551, 6)] if stack else []
    header, entry = (64, 56) if wide else (52, 32)
    size = header + entry * len(kinds) + len(payload)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    layout = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    machine = _MACHINES[arch.name]
    head = ident + struct.pack(
        layout, 2, machine, 1, 0, header, 0, 0, header, entry, len(kinds), 0, 0, 0
    )
    for kind, flags in kinds:
        head += (
            struct.pack("<IIQQQQQQ", kind, flags, 0, 0, 0, size, size, 4096)
            if wide
            else struct.pack("<IIIIIIII", kind, 0, 0, 0, size, size, flags, 4096)
        )
    return head + payload


def build_info(text: str, go: str = "go1.25.4") -> bytes:
    """The block that Go's linker leaves in a program."""

    def string(data: bytes) -> bytes:
        length, out = len(data), b""
        while length >= 0x80:
            out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
        return out + bytes([length]) + data

    marks = bytes(range(16)), bytes(range(16, 32))
    framed = marks[0] + text.encode() + marks[1]
    return b"\xff Go buildinf:\x08\x02" + bytes(16) + string(go.encode()) + string(framed)


def release_info(version: str = VERSION) -> bytes:
    flags = rf'"\n    -X github.com/k3s-io/k3s/pkg/version.Version={version}\n    -w -s\n"'
    return build_info(f"path\tcommand-line-arguments\nbuild\t-ldflags={flags}\n")


@dataclass
class FakeK3s:
    """Change what should be wrong, then take `binary()`."""

    arch: Arch
    wrapper_info: bytes = field(default_factory=release_info)
    programs: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=lambda: dict(LINKS))
    extra: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    """More members of the archive, as they are."""
    edit_lists: Callable[[str, str], str] = lambda _, text: text
    """Given `.sha256sums` or `.links` and its right content; returns what is packed."""
    names: int = 1
    """How often the asset is embedded (each time with other content)."""

    def __post_init__(self) -> None:
        info = build_info("path\tgithub.com/k3s-io/k3s/cmd/server\nmod\tgithub.com/k3s-io/k3s\t\n")
        self.programs = {"k3s": elf(self.arch, info), "cni": elf(self.arch, b"cni")}

    def tar(self, salt: bytes = b"") -> bytes:
        output = io.BytesIO()
        sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in self.programs.items())
        links = "".join(f"{name} {target}\n" for name, target in self.links.items())
        lists = {".sha256sums": sums, ".links": links}
        with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name in ("./bin", "./bin/aux", "./etc"):
                tar.addfile(member(name, tarfile.DIRTYPE))
            for name, data in self.programs.items():
                tar.addfile(member(f"./bin/{name}", size=len(data)), io.BytesIO(data))
            for name, target in self.links.items():
                tar.addfile(member(f"./bin/{name}", tarfile.SYMTYPE, target=target))
            for name, text in lists.items():
                packed = self.edit_lists(name, text).encode()
                info = member(f"./bin/{name}", size=len(packed), mode=0o644)
                tar.addfile(info, io.BytesIO(packed))
            tar.addfile(member("./etc/salt", size=len(salt), mode=0o600), io.BytesIO(salt))
            for info, data in self.extra:
                tar.addfile(info, io.BytesIO(data))
        return output.getvalue()

    def frames(self) -> list[bytes]:
        return [pack(self.tar(b"%d" % count)) for count in range(self.names)]

    def binary(self) -> bytes:
        frames = self.frames()
        names = b"".join(b"embed/%s.tar.zst" % _sha256(frame).encode() for frame in frames)
        return self.wrap(names, frames)

    def wrap(self, names: bytes, frames: list[bytes]) -> bytes:
        """The wrapper around frames, with something that only looks like a frame before them."""
        decoy = b"\x28\xb5\x2f\xfd" + b"\xff" * 12
        return elf(self.arch, self.wrapper_info + decoy + names + b"".join(frames) + bytes(32))


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, mode: int = 0o775, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, size, mode, target
    info.uid, info.gid, info.uname = 1000, 1000, "builder"
    return info


def pack(data: bytes, window_log: int = 25) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
