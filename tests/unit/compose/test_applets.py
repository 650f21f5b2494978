"""Links to busybox's applets: which are made, and from what."""

from __future__ import annotations

import pytest
from edgeimg.compose.applets import applets, exclusions, link_applets
from edgeimg.errors import ArchiveError
from edgeimg.tree import Tree, file, symlink

NAMES = sorted(
    """[ [[ ash awk base64 cat chmod cp cut date dd df echo env false grep head id init kill ln ls
    mkdir mv poweroff ps rm sed sh sleep sort tail tar tc true wc""".split()  # noqa: SIM905
)
TABLE = "\0".join(NAMES).encode()


def program(table: bytes = TABLE) -> bytes:
    """Code, words before and after the table, and the table."""
    return b"\x7fELF\x02\x01\1\xff" + b"zebra\0yak\0" + table + b"\0-/bin/sh\0" + b"a\0b\0c\0" * 20


def root(**programs: str) -> Tree:
    nodes = {path.replace("_", "/"): symlink(target) for path, target in programs.items()}
    return Tree().with_nodes({"usr/bin/busybox": file(program(), mode=0o755), **nodes})


def linked(tree: Tree) -> set[str]:
    return {path for path, node in tree.items() if node.target == "busybox"}


def test_the_table_is_read_from_the_program() -> None:
    assert list(applets(program())) == NAMES


def test_a_word_before_the_table_is_not_in_it() -> None:
    assert applets(program(b"[\0" + TABLE))[0] == "["
    assert list(applets(program(b"abc\0abd\0" + TABLE))) == NAMES


def test_a_program_without_a_table_is_refused() -> None:
    with pytest.raises(ArchiveError, match="no table of applets"):
        applets(program(b"cat\0ls\0mv"))
    with pytest.raises(ArchiveError, match="no table of applets"):
        applets(program(b"\0".join(name.encode() for name in reversed(NAMES))))


def test_every_applet_gets_a_link_but_those_that_are_exclusions() -> None:
    left = exclusions()
    made = linked(link_applets(root()))
    assert made == {f"usr/bin/{name}" for name in NAMES if name not in left}
    assert "usr/bin/ls" in made
    assert made.isdisjoint({"usr/bin/init", "usr/bin/poweroff", "usr/bin/sh"})


def test_what_else_is_in_the_root_wins() -> None:
    made = link_applets(root(usr_bin_ls="coreutils", usr_sbin_tc="iproute2"))
    assert made["usr/bin/ls"].target == "coreutils"
    assert "usr/bin/tc" not in made
    assert made["usr/bin/cat"].target == "busybox"


def test_a_recipe_prunes_links() -> None:
    made = linked(link_applets(root(), ["usr/bin/tc", "usr/sbin/w*", "!usr/bin/ls"]))
    assert made.isdisjoint({"usr/bin/tc", "usr/bin/wc"})
    assert "usr/bin/ls" in made


def test_without_busybox_there_are_none() -> None:
    script = Tree().with_nodes({"usr/bin/busybox": file(b"#!/bin/sh\n")})
    for tree in (Tree(), script):
        assert dict(link_applets(tree).items()) == dict(tree.items())
