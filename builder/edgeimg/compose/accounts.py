"""Users and groups from sysusers.d(5), made at build time as systemd-sysusers would make them.

Numbers that a file leaves open ("-") are drawn from the name, so that they stay what they are
when a later image has more users: files on the data partition belong to numbers.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeimg.errors import ArchiveError
from edgeimg.tree import Kind, Tree, file, replace

DYNAMIC = range(200, 1000)
"""System accounts without a fixed number (Debian Policy 9.2.2: 100-999)."""
_DIRECTORIES = ("usr/lib/sysusers.d", "etc/sysusers.d")
_NOLOGIN = "/usr/sbin/nologin"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of sysusers.d."""

    type: str
    name: str
    id: str = "-"
    text: str = ""
    """GECOS of a user; the group of a membership."""
    home: str = "/"
    shell: str = ""
    where: str = ""


@dataclass
class Accounts:
    """Users and groups by name; members by group."""

    uids: dict[str, int] = field(default_factory=dict)
    gids: dict[str, int] = field(default_factory=dict)
    users: dict[str, tuple[int, Entry]] = field(default_factory=dict)
    """Primary group and entry by user."""
    members: dict[str, set[str]] = field(default_factory=dict)


def add_accounts(tree: Tree) -> Tree:
    """The tree with /etc/passwd, group, shadow and gshadow. Every account is locked.

    Raises ArchiveError for malformed lines, or for two accounts with one number.
    """
    accounts = resolve(read_entries(tree))
    keepers = accounts.gids.get("shadow", 0)
    return tree.with_nodes(
        {
            "etc/passwd": file(_passwd(accounts, tree)),
            "etc/group": file(_group(accounts)),
            "etc/shadow": replace(file(_shadow(accounts), mode=0o640), gid=keepers),
            "etc/gshadow": replace(file(_gshadow(accounts), mode=0o640), gid=keepers),
        }
    )


def read_entries(tree: Tree) -> list[Entry]:
    """All lines of sysusers.d, file by file in the order of their names; /etc overrides."""
    files = {
        path.rpartition("/")[2]: node
        for directory in _DIRECTORIES
        for path, node in tree.under(directory)
        if path.endswith(".conf") and node.kind is Kind.FILE
    }
    return [
        entry
        for name in sorted(files)
        for entry in parse(files[name].read().decode("utf-8", "replace"), name)
    ]


def parse(text: str, where: str) -> list[Entry]:
    """The entries of one file. Raises ArchiveError for lines that sysusers.d(5) does not allow."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        try:
            words = [word.replace("%%", "%") for word in shlex.split(line)]
        except ValueError as error:
            raise ArchiveError(f"{where}:{number}: {error}") from error
        kind = words[0].rstrip("!")
        if kind not in ("u", "g", "m", "r") or len(words) < 2:
            raise ArchiveError(f"{where}:{number}: not a line of sysusers.d(5): {line!r}")
        empty = ["-"] * 6
        name, number_field, gecos, home, shell = (words[1:] + empty)[:5]
        entries.append(
            Entry(
                type=kind,
                name=name,
                id=number_field,
                text=number_field if kind == "m" else gecos.removeprefix("-"),
                home="/" if home == "-" else home,
                shell="" if shell == "-" else shell,
                where=f"{where}:{number}",
            )
        )
    return entries


def resolve(entries: Iterable[Entry]) -> Accounts:
    """Give every account its number. The first entry of a name counts. Pure."""
    unique: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        if entry.type in "ug":
            unique.setdefault((entry.type, entry.name), entry)
    accounts = Accounts()
    for entry in sorted(unique.values(), key=_rank):
        if entry.type == "g":
            _add_group(accounts, entry.name, entry.id, entry)
        else:
            _add_user(accounts, entry)
    for entry in entries:
        if entry.type == "m":
            if entry.text not in accounts.gids:
                _add_group(accounts, entry.text, "-", entry)
            accounts.members.setdefault(entry.text, set()).add(entry.name)
    return accounts


def _rank(entry: Entry) -> tuple[bool, str, str]:
    """Fixed numbers first, groups before users, then by name."""
    return (not entry.id[:1].isdigit(), entry.type, entry.name)


def _add_group(accounts: Accounts, name: str, number: str, entry: Entry) -> int:
    if name not in accounts.gids:
        used_numbers = set(accounts.gids.values()) | (
            set(accounts.uids.values()) - {accounts.uids.get(name)}
        )
        if number.isdigit():
            if int(number) in accounts.gids.values():
                raise ArchiveError(f"{entry.where}: group {number} of {name} is in use")
            accounts.gids[name] = int(number)
        else:
            accounts.gids[name] = _draw(name, used_numbers)
    return accounts.gids[name]


def _add_user(accounts: Accounts, entry: Entry) -> None:
    uid, _, group = entry.id.partition(":")
    if group:
        gid = int(group) if group.isdigit() else _add_group(accounts, group, "-", entry)
    else:
        gid = _add_group(accounts, entry.name, uid if uid.isdigit() else "-", entry)
    number = int(uid) if uid.isdigit() else gid
    if not uid.isdigit() and (group or number in accounts.uids.values()):
        number = _draw(entry.name, set(accounts.uids.values()) | set(accounts.gids.values()))
    if number in accounts.uids.values():
        raise ArchiveError(f"{entry.where}: user {number} of {entry.name} is in use")
    accounts.uids[entry.name] = number
    accounts.users[entry.name] = (gid, entry)


def _draw(name: str, used_numbers: set[int]) -> int:
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    for step in range(len(DYNAMIC)):
        number = DYNAMIC[(start + step) % len(DYNAMIC)]
        if number not in used_numbers:
            return number
    raise ArchiveError("more system accounts than numbers")


def _passwd(accounts: Accounts, tree: Tree) -> bytes:
    lines = []
    for name, uid in sorted(accounts.uids.items(), key=lambda item: item[1]):
        gid, entry = accounts.users[name]
        shell = entry.shell or ("/bin/sh" if uid == 0 else _NOLOGIN)
        if uid == 0 and tree.resolve(shell) not in tree:
            shell = "/bin/sh"
        home = "/root" if uid == 0 and entry.home == "/" else entry.home
        lines.append(f"{name}:x:{uid}:{gid}:{entry.text}:{home}:{shell}\n")
    return "".join(lines).encode()


def _group(accounts: Accounts) -> bytes:
    lines = [
        f"{name}:x:{gid}:{','.join(sorted(accounts.members.get(name, ())))}\n"
        for name, gid in sorted(accounts.gids.items(), key=lambda item: item[1])
    ]
    return "".join(lines).encode()


def _shadow(accounts: Accounts) -> bytes:
    # "!*" is no possible hash (shadow(5)); the empty date of change never makes a password old.
    names = sorted(accounts.uids, key=lambda name: accounts.uids[name])
    return "".join(f"{name}:!*:::::::\n" for name in names).encode()


def _gshadow(accounts: Accounts) -> bytes:
    names = sorted(accounts.gids, key=lambda name: accounts.gids[name])
    members = {name: ",".join(sorted(accounts.members.get(name, ()))) for name in names}
    return "".join(f"{name}:!*::{members[name]}\n" for name in names).encode()
