"""A Tree as a newc cpio archive, the format of an initrd.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Everything is
root's, time stamps are 0 and inode numbers count up, so equal trees give equal bytes.
"""

from __future__ import annotations

from edgeimg.tree import Kind, Node, Tree

_TYPES = {Kind.FILE: 0o100000, Kind.DIRECTORY: 0o040000, Kind.SYMLINK: 0o120000}
_TRAILER = "TRAILER!!!"


def archive(tree: Tree) -> bytes:
    """The archive of `tree`; extended attributes are dropped, parents precede children."""
    records = [
        _record(path, node, inode) for inode, (path, node) in enumerate(tree.items(), start=1)
    ]
    return b"".join([*records, _header(_TRAILER, 0, 0, 1, 0)])


def _record(path: str, node: Node, inode: int) -> bytes:
    content = node.target.encode() if node.kind is Kind.SYMLINK else node.read()
    links = 2 if node.kind is Kind.DIRECTORY else 1
    mode = _TYPES[node.kind] | node.mode
    return _header(path, inode, mode, links, len(content)) + _padded(content)


def _header(name: str, inode: int, mode: int, links: int, size: int) -> bytes:
    encoded = name.encode() + b"\0"
    #         ino    mode  uid gid nlink  mtime filesize dev dev rdev rdev namesize check
    fields = (inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(encoded), 0)
    return _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
