"""A small root and a kernel in which no check finds anything."""

from __future__ import annotations

from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.check import kernel as needs
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.recipe.model import Recipe
from edgeimg.tree import Node, Tree, directory, file, symlink
from edgeimg.tree.overlay import from_directory

from tests.samples import elf

OVERLAY = Path(__file__).parents[1] / "overlays/base"
VERSION = "6.12.0-test"
MODULES = f"usr/lib/modules/{VERSION}/kernel"


def root(arch: Arch) -> Tree:
    """The default overlay, a loader, a C library, and a program that uses both."""
    lib = f"usr/lib/{arch.triplet}"
    loader = arch.loader.rpartition("/")[2]
    place = arch.loader.strip("/").partition("/")[0]
    nodes: dict[str, Node] = {
        f"{lib}/{loader}": file(elf(arch, soname=loader)),
        f"{lib}/libc.so.6": file(elf(arch, soname="libc.so.6", needed=[loader])),
        "usr/bin/tool": file(elf(arch, interpreter=arch.loader, needed=["libc.so.6"]), mode=0o755),
        "usr/bin/sh": symlink("tool"),
        "lib": symlink("usr/lib"),
        f"usr/{place}/{loader}": symlink(f"../lib/{arch.triplet}/{loader}"),
        "etc/passwd": file(b"root:x:0:0::/root:/bin/sh\n"),
        "etc/shadow": file(b"root:!*:::::::\n", mode=0o640),
        "tmp": directory(mode=0o1777),
        f"{MODULES}/drivers/net/veth.ko": file(b"module"),
    }
    if place != "lib":
        nodes[place] = symlink(f"usr/{place}")
    return from_directory(OVERLAY, origin="overlay:base").with_nodes(nodes)


def kernel(**options: str) -> Kernel:
    """A kernel with everything built in but for `veth` and `erofs`, and with `options` changed."""
    values = {need.option: "y" for need in needs.needs(Recipe())}
    values |= {"VETH": "m", "EROFS_FS": "m"} | options
    config = "".join(f"CONFIG_{name}={value}\n" for name, value in values.items() if value != "n")
    modules = {
        f"{MODULES}/drivers/net/veth.ko.xz": file(b"module"),
        f"{MODULES}/fs/erofs/erofs.ko.xz": file(b"module"),
    }
    return Kernel(
        version=VERSION,
        image=b"",
        config=f"# a comment\n{config}# CONFIG_OTHER is not set\n".encode(),
        modules=Tree().with_nodes(modules),
        control="",
        sha256="",
        origin="kernel",
    )


INITRD = frozenset(("erofs",))
"""The names of the initrd's modules."""
