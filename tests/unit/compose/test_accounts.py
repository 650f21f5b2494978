"""Users and groups from sysusers.d."""

from __future__ import annotations

import pytest
from edgeimg.compose import accounts
from edgeimg.errors import ArchiveError
from edgeimg.tree import Tree, file

BASE = """\
# comment
g shadow 42 -
g nogroup 65534 -
u root 0 - /root /bin/bash
u daemon 1 - /usr/sbin /usr/sbin/nologin
u nobody 65534:65534 - /nonexistent /usr/sbin/nologin
u! systemd-network - "Network Management" - -
g input -
m systemd-network input
"""


def tree_with(text: str, name: str = "basic.conf") -> Tree:
    nodes = {f"usr/lib/sysusers.d/{name}": file(text.encode()), "usr/bin/sh": file(b"")}
    return Tree().with_nodes(nodes)


def lines(tree: Tree, name: str) -> dict[str, list[str]]:
    rows = tree.read(f"etc/{name}").decode().splitlines()
    return {row.split(":")[0]: row.split(":")[1:] for row in rows}


def test_the_four_files() -> None:
    tree = accounts.add_accounts(tree_with(BASE))
    passwd, group = lines(tree, "passwd"), lines(tree, "group")
    assert passwd["root"] == ["x", "0", "0", "", "/root", "/bin/sh"]
    assert passwd["nobody"] == ["x", "65534", "65534", "", "/nonexistent", "/usr/sbin/nologin"]
    uid, gid = passwd["systemd-network"][1:3]
    assert uid == gid == group["systemd-network"][1]
    assert int(uid) in accounts.DYNAMIC
    assert passwd["systemd-network"][3:] == ["Network Management", "/", "/usr/sbin/nologin"]
    assert group["input"][2] == "systemd-network"
    assert group["nogroup"][1] == "65534"


def test_nobody_has_a_password() -> None:
    tree = accounts.add_accounts(tree_with(BASE))
    shadow = lines(tree, "shadow")
    assert shadow.keys() == lines(tree, "passwd").keys()
    assert {fields[0] for fields in shadow.values()} == {"!*"}
    assert all(len(fields) == 8 for fields in shadow.values())
    assert (tree["etc/shadow"].mode, tree["etc/shadow"].gid) == (0o640, 42)
    assert {fields[0] for fields in lines(tree, "gshadow").values()} == {"!*"}


def test_numbers_stay_when_others_come() -> None:
    one = lines(accounts.add_accounts(tree_with(BASE)), "passwd")
    more = BASE + "u systemd-resolve -\nu aaa -\nu zzz -\ng render -\n"
    other = lines(accounts.add_accounts(tree_with(more)), "passwd")
    assert one["systemd-network"] == other["systemd-network"]


def test_open_numbers_are_unique() -> None:
    text = "".join(f"u user{number} -\n" for number in range(300))
    uids = [row[1] for row in lines(accounts.add_accounts(tree_with(text)), "passwd").values()]
    assert len(set(uids)) == 300


def test_too_many_accounts_is_one_clear_error() -> None:
    text = "".join(f"u user{number} -\n" for number in range(900))
    with pytest.raises(ArchiveError, match="more system accounts"):
        accounts.add_accounts(tree_with(text))


def test_etc_overrides_usr_and_files_go_by_name() -> None:
    tree = tree_with("u tool 300 one\n", "a.conf").with_nodes(
        {
            "etc/sysusers.d/a.conf": file(b'u tool 301 "two" /home /bin/sh\n'),
            "usr/lib/sysusers.d/b.conf": file(b"u tool 302 three\n"),
        }
    )
    assert lines(accounts.add_accounts(tree), "passwd")["tool"] == [
        "x", "301", "301", "two", "/home", "/bin/sh",
    ]  # fmt: skip


def test_groups_of_users() -> None:
    text = "g games 60\nu games 5:60\nu sync 4:nogroup\ng nogroup 65534\n"
    passwd = lines(accounts.add_accounts(tree_with(text)), "passwd")
    assert passwd["games"][1:3] == ["5", "60"]
    assert passwd["sync"][1:3] == ["4", "65534"]


def test_a_member_makes_its_group() -> None:
    group = lines(accounts.add_accounts(tree_with("u tool 300\nm tool dialers\n")), "group")
    assert group["dialers"][2] == "tool"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x root 0\n", "not a line"),
        ("u\n", "not a line"),
        ('u root 0 "open\n', "quotation"),
        ("u one 300\nu two 300\n", "300 of two is in use"),
        ("g one 300\ng two 300\n", "300 of two is in use"),
    ],
)
def test_malformed_lines_are_named(text: str, says: str) -> None:
    with pytest.raises(ArchiveError, match=says) as caught:
        accounts.add_accounts(tree_with(text))
    assert "basic.conf:" in caught.value.message


def test_order_of_files_does_not_matter() -> None:
    nodes = {f"usr/lib/sysusers.d/{name}.conf": file(f"u {name} -\n".encode()) for name in "abcdef"}
    one = accounts.add_accounts(Tree().with_nodes(nodes))
    other = accounts.add_accounts(Tree().with_nodes(dict(reversed(nodes.items()))))
    assert one.digest() == other.digest()
