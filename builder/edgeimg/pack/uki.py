"""The unified kernel image: one EFI program of stub, kernel, initrd and command line.

UAPI Group Specification UKI; made by ukify(1), which is a Python script and runs with the
interpreter (and the pefile module) of edgeimg itself. It has two profiles, which systemd-boot
shows as two entries of its menu: the system, and the factory reset. They share all but the command
line, so the second costs a few hundred bytes, and is signed with the first.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pefile

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.errors import ImageError
from edgeimg.tools import Toolbox

TIMEOUT = 120.0
_LONGEST = 64 << 10
"""Bytes of a section that holds a text."""
_PARTS = (".linux", ".initrd", ".osrel", ".ucode")
"""Sections that `extend` takes over as files."""
_TEXTS = (".cmdline", ".osrel", ".uname", ".profile")
RESET_WORD = "edgeimg.reset=yes"
"""On the command line of the factory reset's profile; `init` looks for it."""
RESET_PROFILE = "ID=reset\nTITLE=Factory reset: erase all data, keep provisioning\n"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What goes into a UKI; paths are files of the host."""

    kernel: Path
    initrd: Path
    stub: Path
    """`usr/lib/systemd/boot/efi/linux<efi>.efi.stub` of the target's systemd-boot-efi."""
    addon: Path
    """`addon<efi>.efi.stub` from there: what the second profile is put together on."""
    cmdline: str
    os_release: bytes
    uname: str
    """The kernel's release: what `uname -r` will say."""
    microcode: Path | None = None


def cmdline(arch: Arch, *, root_hash: str, extra: Sequence[str] = ()) -> str:
    """The kernel command line: the root hash, consoles, and `extra` words of the recipe.

    The serial console comes last: it is the one that gets /dev/console.
    """
    return " ".join(
        [
            f"roothash={root_hash}",
            "console=tty0",
            f"console={arch.console}",
            "ro",
            "panic=10",
            "loglevel=4",
            "cgroup_no_v1=all",
            "systemd.gpt_auto=0",
            *extra,
        ]
    )


def make(parts: Parts, output: Path, *, arch: Arch, epoch: int, toolbox: Toolbox) -> None:
    """Write the UKI to `output`. Equal parts give equal bytes. Raises ToolError."""

    os_release = output.with_name(f"{output.name}.os-release")
    os_release.write_bytes(parts.os_release)
    reset = output.with_name(f"{output.name}.reset")
    reset_release = output.with_name(f"{output.name}.reset-os-release")
    reset_release.write_bytes(reset_os_release(parts.os_release))
    _ukify(
        f"--profile={RESET_PROFILE}",
        f"--stub={parts.addon}",
        f"--os-release=@{reset_release}",
        f"--cmdline={parts.cmdline} {RESET_WORD}",
        f"--efi-arch={arch.efi}",
        output=reset, epoch=epoch, toolbox=toolbox,
    )  # fmt: skip
    _ukify(
        f"--linux={parts.kernel}",
        f"--initrd={parts.initrd}",
        f"--stub={parts.stub}",
        f"--cmdline={parts.cmdline}",
        f"--os-release=@{os_release}",
        f"--uname={parts.uname}",
        *([f"--microcode={parts.microcode}"] if parts.microcode else []),
        f"--efi-arch={arch.efi}",
        "--profile=ID=main\n",
        f"--join-profile={reset}",
        output=output, epoch=epoch, toolbox=toolbox,
    )  # fmt: skip
    os_release.unlink()
    reset.unlink()
    reset_release.unlink()


def extend(
    source: Path,
    output: Path,
    *,
    initrd: Path,
    stub: Path,
    arch: Arch,
    epoch: int,
    toolbox: Toolbox,
) -> None:
    """Write the UKI `source` with one more archive before its initrd, and its first profile alone.

    `stub` is that of `Parts`. Raises ImageError for what is no UKI, ToolError.
    """
    parts: dict[str, Path] = {}
    with pefile.PE(str(source), fast_load=True) as pe:
        for section in pe.sections:
            name = section.Name.rstrip(b"\0").decode()
            if name in _PARTS and name not in parts:
                parts[name] = output.with_name(f"{output.name}{name}")
                parts[name].write_bytes(section.get_data()[: section.Misc_VirtualSize])
    facts = read(source)
    _ukify(
        f"--linux={parts['.linux']}",
        f"--initrd={initrd}",
        f"--initrd={parts['.initrd']}",
        f"--stub={stub}",
        f"--cmdline={facts.cmdline}",
        f"--os-release=@{parts['.osrel']}",
        f"--uname={facts.uname}",
        *([f"--microcode={parts['.ucode']}"] if ".ucode" in parts else []),
        f"--efi-arch={arch.efi}",
        output=output, epoch=epoch, toolbox=toolbox,
    )  # fmt: skip
    for path in parts.values():
        path.unlink()


def addon(
    words: Sequence[str], *, stub: Path, output: Path, arch: Arch, epoch: int, toolbox: Toolbox
) -> None:
    """Write an addon with more words for the command line of every UKI (systemd-stub(7)).

    Raises ToolError.
    """
    _ukify(
        f"--stub={stub}", f"--cmdline={' '.join(words)}", f"--efi-arch={arch.efi}",
        output=output, epoch=epoch, toolbox=toolbox,
    )  # fmt: skip


def reset_os_release(os_release: bytes) -> bytes:
    """The os-release of the factory reset's profile.

    systemd-boot sorts by IMAGE_ID: so a reset comes after every version of the system, where 257
    was seen to put the second profile first (docs/adr/0011-factory-reset.md).
    """
    found = parse_os_release(os_release)
    name = found.get("IMAGE_ID") or found.get("ID", "linux")
    return os_release.rstrip(b"\n") + f"\nIMAGE_ID={name}-reset\n".encode()


def _ukify(*options: str, output: Path, epoch: int, toolbox: Toolbox) -> None:
    # -P: no site or user directories beyond the interpreter's own decide what is run.
    ukify = [sys.executable, "-P", str(toolbox.path("usr/lib/systemd/ukify")), "build"]
    env = process.environment({"SOURCE_DATE_EPOCH": str(epoch), "PYTHONDONTWRITEBYTECODE": "1"})
    process.run(
        [*ukify, *options, f"--output={output}"],
        timeout=TIMEOUT, cwd=output.parent, env=env, name="ukify",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Uki:
    """What a UKI says about itself."""

    cmdline: str
    """Of the system, its first profile."""
    profiles: tuple[str, ...]
    """What its profiles are called: `main`, `reset`."""
    os_release: Mapping[str, str]
    uname: str
    sizes: Mapping[str, int]
    """Bytes by section: `.linux`, `.initrd`, …"""

    @property
    def root_hash(self) -> str | None:
        """The `roothash=` of its command line."""
        words = [word for word in self.cmdline.split() if word.startswith("roothash=")]
        return words[-1].partition("=")[2] if words else None


def read(path: Path) -> Uki:
    """Read a UKI. Raises ImageError for any other file."""
    try:
        with pefile.PE(str(path), fast_load=True) as pe:
            _check_bounds(pe.sections, path.stat().st_size)
            named = [(section.Name.rstrip(b"\0").decode(), section) for section in pe.sections]
            texts = [(name, _text(section)) for name, section in named if name in _TEXTS]
            sizes = {
                name: min(section.Misc_VirtualSize, section.SizeOfRawData)
                for name, section in reversed(named)
            }
        # Those of the system come first; a later profile repeats what it has of its own.
        first = dict(reversed(texts))
        profiles = [parse_os_release(data) for name, data in texts if name == ".profile"]
        return Uki(
            cmdline=first[".cmdline"].decode().strip(),
            profiles=tuple(profile.get("ID", "") for profile in profiles),
            os_release=parse_os_release(first[".osrel"]),
            uname=first[".uname"].decode().strip(),
            sizes=sizes,
        )
    except (pefile.PEFormatError, KeyError, ValueError) as error:
        raise ImageError(f"{path.name} is no unified kernel image") from error


def _check_bounds(sections: Sequence[pefile.SectionStructure], size: int) -> None:
    """Raise ValueError for sections that are the same bytes of the file, or none of its bytes."""
    if sum(section.SizeOfRawData for section in sections) > size:
        raise ValueError("sections out of bounds")


def _text(section: pefile.SectionStructure) -> bytes:
    if section.SizeOfRawData > _LONGEST:
        raise ValueError("a text out of bounds")
    data: bytes = section.get_data()
    return data[: section.Misc_VirtualSize].rstrip(b"\0")


def parse_os_release(data: bytes) -> dict[str, str]:
    """The variables of an os-release(5) file; a value with broken quotes is kept as it is."""
    lines = [line for line in data.decode(errors="replace").splitlines() if "=" in line]
    pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    return {name: _unquoted(value) for name, _, value in pairs}


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value
