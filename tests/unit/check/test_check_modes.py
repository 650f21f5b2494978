"""Set-id bits, capabilities and open doors."""

from __future__ import annotations

import struct

import pytest
from edgeimg.check import modes
from edgeimg.tree import Node, Tree, directory, file, replace, symlink


def found(node: Node) -> list[tuple[str, str]]:
    findings = modes.check(Tree().with_nodes({"usr/bin/x": node}))
    assert all(finding.path == "usr/bin/x" for finding in findings)
    return [(finding.rule, finding.message) for finding in findings]


def capability(bits: int, revision: int = 0x0200_0000) -> bytes:
    low, high = bits & 0xFFFF_FFFF, bits >> 32
    return struct.pack("<IIIII", revision | 1, low, 0, high, 0)


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (file(b"x", mode=0o4755), "setuid"),
        (file(b"x", mode=0o6755), "setuid"),
        (file(b"x", mode=0o2755), "setgid"),
        (file(b"x", mode=0o646), "world-writable"),
        (directory(mode=0o777), "world-writable"),
        (replace(file(b"x"), xattrs=(("security.capability", capability(1)),)), "capability"),
    ],
)
def test_each_is_one_finding(node: Node, rule: str) -> None:
    assert [name for name, _ in found(node)] == [rule]


@pytest.mark.parametrize(
    "node",
    [
        file(b"x", mode=0o755),
        file(b"x", mode=0o2644),  # once mandatory locking
        directory(mode=0o1777),
        directory(mode=0o2775),
        symlink("/bin/x"),
        replace(file(b"x"), xattrs=(("user.note", b"x"),)),
    ],
)
def test_what_is_fine(node: Node) -> None:
    assert found(node) == []


def test_who_it_runs_as() -> None:
    assert "as root" in found(file(b"x", mode=0o4755))[0][1]
    assert "as user 33" in found(replace(file(b"x", mode=0o4755), uid=33))[0][1]
    assert "group 42" in found(replace(file(b"x", mode=0o2755), gid=42))[0][1]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (capability(1 << 13), "cap_net_raw"),
        (capability(1 << 12 | 1 << 10), "cap_net_bind_service, cap_net_admin"),
        (capability(1 << 38, 0x0300_0000) + bytes(4), "cap_perfmon"),
        (struct.pack("<III", 0x0100_0000, 1 << 21, 0), "cap_sys_admin"),
        (b"", "of an unknown format"),
        (b"\0" * 20, "of an unknown format"),
    ],
)
def test_capabilities_are_named(value: bytes, names: str) -> None:
    assert modes.capabilities(value) == names
