"""Rights that a file gives to whoever starts it or finds it: set-id bits, capabilities, modes."""

from __future__ import annotations

import stat
import struct

from edgeimg.check.findings import Finding, finding
from edgeimg.tree import Tree
from edgeimg.tree.node import Kind, Node

_XATTR = "security.capability"
_REVISIONS = {0x0100_0000: 1, 0x0200_0000: 2, 0x0300_0000: 2}
"""Words of 32 bits in each set, by revision (linux/capability.h, vfs_cap_data)."""
_NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip


def check(tree: Tree) -> list[Finding]:
    """Set-id programs, files with capabilities, and files that everybody may write to."""
    return [item for path, node in tree.items() for item in _node(path, node)]


def _node(path: str, node: Node) -> list[Finding]:
    if node.kind is Kind.SYMLINK:  # their mode has no effect
        return []
    findings = _set_id(path, node) if node.kind is Kind.FILE else []
    for name, value in node.xattrs:
        if name == _XATTR and node.kind is Kind.FILE:
            message = f"has capabilities of its own: {capabilities(value)}"
            fix = "give them to the unit that starts it (AmbientCapabilities=)"
            findings.append(finding("capability", path, message, fix))
    sticky = node.kind is Kind.DIRECTORY and node.mode & stat.S_ISVTX
    if node.mode & stat.S_IWOTH and not sticky:
        kind = "directory" if node.kind is Kind.DIRECTORY else "file"
        mode = f"{node.mode:04o}"
        findings.append(
            finding("world-writable", path, f"a {kind} with mode {mode}", f"chmod o-w {path}")
        )
    return findings


def _set_id(path: str, node: Node) -> list[Finding]:
    fix = "take the bit away or leave the program out: services are started by systemd, as root"
    if node.mode & stat.S_ISUID:
        who = "root" if node.uid == 0 else f"user {node.uid}"
        return [finding("setuid", path, f"runs as {who}, whoever starts it", fix)]
    # Without the group's execute bit it once meant mandatory locking, and now means nothing.
    if node.mode & stat.S_ISGID and node.mode & stat.S_IXGRP:
        who = "root" if node.gid == 0 else str(node.gid)
        return [finding("setgid", path, f"runs with the rights of group {who}", fix)]
    return []


def capabilities(value: bytes) -> str:
    """The names in a `security.capability` attribute, as in `cap_net_raw`."""
    try:
        (magic,) = struct.unpack_from("<I", value)
        words = struct.unpack_from(f"<{2 * _REVISIONS[magic & 0xFF00_0000]}I", value, 4)
    except (struct.error, KeyError):
        return "of an unknown format"
    permitted = sum(word << 32 * at for at, word in enumerate(words[::2]))
    inherited = sum(word << 32 * at for at, word in enumerate(words[1::2]))
    bits = permitted | inherited
    names = [f"cap_{name}" for bit, name in enumerate(_NAMES) if bits >> bit & 1]
    return ", ".join(names) or "none"
