"""Microcode as the kernel loads it before anything else: an uncompressed archive of two files.

Names: the kernel's Documentation/arch/x86/microcode.rst. Debian's packages have a file for each
family of processors; their updates may follow one another in one file.
"""

from __future__ import annotations

from edgeimg import tree
from edgeimg.errors import ArchiveError
from edgeimg.pack import cpio
from edgeimg.tree import Kind, Tree

_VENDORS = {"intel-ucode": "GenuineIntel.bin", "amd-ucode": "AuthenticAMD.bin"}


def archive(packages: Tree) -> bytes:
    """The archive for the `.ucode` section, from the merged packages.

    Equal packages give equal bytes. Raises ArchiveError when a vendor's files are missing.
    """
    nodes = {}
    for directory, name in _VENDORS.items():
        files = [
            node.read()
            for _, node in packages.under(f"usr/lib/firmware/{directory}")
            if node.kind is Kind.FILE
        ]
        if not files:
            raise ArchiveError(f"the packages of microcode hold no usr/lib/firmware/{directory}")
        nodes[f"kernel/x86/microcode/{name}"] = tree.file(b"".join(files))
    return cpio.archive(Tree().with_nodes(nodes))
