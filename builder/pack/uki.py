"""The unified kernel image: one EFI program of stub, kernel, initrd and command line.

UAPI Group Specification UKI; made by ukify(1), which is a Python script and runs with the
interpreter (and the pefile module) of edgeimg itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import process
from builder.arch import Arch
from builder.pack import scratch
from builder.tools import Toolbox
from builder.tree import Content

TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What goes into a UKI."""

    kernel: Content
    initrd: Path
    stub: Content
    """`usr/lib/systemd/boot/efi/linux<efi>.efi.stub` of the target's systemd-boot-efi."""
    cmdline: str
    os_release: bytes
    uname: str
    """The kernel's release: what `uname -r` will say."""


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

    def beside(name: str, content: Content) -> Path:
        return scratch.write(content, output.with_name(f"{output.name}.{name}"))

    kernel = beside("linux", parts.kernel)
    stub = beside("stub", parts.stub)
    os_release = beside("os-release", parts.os_release)
    argv = [
        sys.executable,
        # No site or user directories beyond the interpreter's own decide what is run.
        "-P",
        str(toolbox.path("usr/lib/systemd/ukify")),
        "build",
        f"--linux={kernel}",
        f"--initrd={parts.initrd}",
        f"--stub={stub}",
        f"--cmdline={parts.cmdline}",
        f"--os-release=@{os_release}",
        f"--uname={parts.uname}",
        f"--efi-arch={arch.efi}",
        f"--output={output}",
    ]
    env = process.environment({"SOURCE_DATE_EPOCH": str(epoch), "PYTHONDONTWRITEBYTECODE": "1"})
    process.run(argv, timeout=TIMEOUT, cwd=output.parent, env=env, name="ukify")
    for path in (kernel, stub, os_release):
        path.unlink()
