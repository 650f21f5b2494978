"""The keys that releases are signed with: made, found and exported by gpg, and kept from others."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import disk_errors
from edgeimg.errors import SigningKeyError, ToolError
from edgeimg.trust import gnupg

ALGORITHM = "ed25519"
_OTHER_USERS = stat.S_IRWXG | stat.S_IRWXO
_UNUSABLE = "redi"
"""Validity in gpg's listing: revoked, expired, disabled, invalid (doc/DETAILS of GnuPG)."""
_STUB = "#"
_EMAIL = re.compile(r"[^\s<>()@\x00-\x1f]+@[^\s<>()@\x00-\x1f]+")
_NAME = re.compile(r"[^<>()\x00-\x1f\s][^<>()\x00-\x1f]*")
_FINGERPRINT = re.compile(r"(?:0x)?([0-9A-Fa-f]{16,40})")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key whose secret part gpg can use on this host."""

    fingerprint: str
    """Of the primary key, in upper-case hexadecimal."""
    user_id: str
    """`Name <email>`; the first one of the key."""
    home: Path | None = None
    """GnuPG's home directory; None: the user's."""

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.user_id}"


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key to be made."""

    user_id: str
    home: Path | None = None
    passphrase_file: Path | None = None
    protected: bool = True
    """It gets a passphrase, from `passphrase_file` or from gpg's question."""
    expires: str = "never"
    """In the format of gpg's --quick-generate-key: `never`, `2y`, an ISO date."""


def user_id(name: str, email: str) -> str:
    """`Name <email>` (RFC 4880, 5.11). Raises SigningKeyError for a name that gpg rejects."""
    if not _NAME.fullmatch(name):
        raise SigningKeyError(f"{name!r} cannot be the name of a key: no <>() or line breaks")
    if not _EMAIL.fullmatch(email):
        raise SigningKeyError(f"{email!r} is not an e-mail address")
    return f"{name} <{email}>"


def generate(new_key: NewKey) -> Key:
    """Make an Ed25519 key that can only sign, in the user's keyring or in `home`.

    Raises SigningKeyError when the home is not safe, when such a key exists already, or when there
    is no terminal for a passphrase; HostError without gpg; ToolError when gpg fails.
    """
    home = new_key.home or gnupg.default_home()
    gnupg.require("gpg", "gpg-agent")
    guard(home, explicit=new_key.home is not None)
    gnupg.check_sockets(home)
    if new_key.protected and new_key.passphrase_file is None and not gnupg.interactive():
        raise SigningKeyError(
            "there is no terminal to ask for the new key's passphrase at",
            hint="use --passphrase-file FILE, or --no-passphrase for a key in a safe place",
        )
    with disk_errors(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(key.user_id == new_key.user_id for key in available(new_key.home)):
        raise SigningKeyError(
            f"there is a key of {new_key.user_id} in {home} already",
            hint="use it, or make the new one in another --home or of another name",
        )
    arguments = ["--quick-generate-key", new_key.user_id, ALGORITHM, "sign", new_key.expires]
    if not new_key.protected:
        arguments = ["--pinentry-mode", "loopback", "--passphrase", "", *arguments]
    check_passphrase_file(new_key.passphrase_file)
    gnupg.gpg(*arguments, home=new_key.home, passphrase_file=new_key.passphrase_file)
    return find(new_key.user_id, home=new_key.home)


def find(name: str | None, *, home: Path | None) -> Key:
    """The key to sign with: `wanted` is (part of) its fingerprint or user id; None: the only one.

    Raises SigningKeyError when none or several fit, or when others could read them; HostError
    without gpg, gpgv or a usable path for the agent's socket.
    """
    gnupg.require("gpg", "gpg-agent", "gpgv")
    place = home or gnupg.default_home()
    guard(place, explicit=home is not None)
    if not place.is_dir():
        raise _none_fits(name, place, ())
    gnupg.check_sockets(place)
    return choose(available(home), name, place)


def available(home: Path | None) -> tuple[Key, ...]:
    """All keys that can sign here, in gpg's order."""
    try:
        listing = gnupg.gpg(
            "--with-colons", "--fixed-list-mode", "--list-secret-keys", home=home
        ).decode(errors="replace")
    except ToolError as error:
        raise SigningKeyError(f"gpg cannot list its keys: {error.message}") from error
    return parse(listing, home)


def parse(listing: str, home: Path | None) -> tuple[Key, ...]:
    """The keys that can sign, from gpg's listing with colons (doc/DETAILS of GnuPG)."""
    blocks: list[list[list[str]]] = []
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "sec":
            blocks.append([])
        if blocks:
            blocks[-1].append([*fields, *[""] * 21])
    return tuple(_key(block, home) for block in blocks if _can_sign(block))


def choose(keys: Sequence[Key], name: str | None, place: Path) -> Key:
    """The one of `keys` in `place` that `wanted` names, as in `find`. Raises SigningKeyError."""
    exact = [key for key in keys if key.user_id == name]
    fitting = exact or [key for key in keys if name is None or _fits(key, name)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise _none_fits(name, place, keys)
    problem = "several keys to sign with" if name is None else f"several keys that fit {name!r}"
    raise SigningKeyError(
        "\n  ".join([f"there are {problem} in {place}", *map(str, fitting)]),
        hint="name one by its fingerprint: --key FINGERPRINT",
    )


def export(key: Key, *, armored: bool = True) -> bytes:
    """The public key: ASCII armor for people, binary for gpgv and systemd-sysupdate."""
    form = ["--armor", "--no-emit-version"] if armored else []
    return gnupg.gpg(
        *form, "--export-options", "export-minimal", "--export", key.fingerprint, home=key.home
    )


def guard(home: Path, *, explicit: bool) -> None:
    """Raises SigningKeyError when a home is, or would be, no safe place for secret keys.

    Others may not be able to read it, and, if it was `given` by name, it may not be inside a
    project or a git checkout, from where it would get into commits and images.
    """
    if explicit and (project := _project(home)):
        raise SigningKeyError(
            f"{home} is inside the project {project}: secret keys do not belong there",
            hint="choose a home outside of it, and export the public key only",
        )
    if home.exists() and not home.is_dir():
        raise SigningKeyError(f"{home} is not a directory")
    if home.is_dir():
        refuse_open(home, "chmod 700")
        for path in sorted(home.glob("private-keys-v1.d/*.key")):
            refuse_open(path, "chmod 600")


def check_passphrase_file(path: Path | None) -> None:
    """Raises SigningKeyError when others could read it, or it is inside the project."""
    if path is None:
        return
    if not path.is_file():
        raise SigningKeyError(f"there is no passphrase file {path}")
    refuse_open(path, "chmod 600")
    if project := _project(path):
        raise SigningKeyError(
            f"{path} is inside the project {project}: passphrases do not belong there"
        )


def refuse_open(path: Path, mend: str) -> None:
    """Raises SigningKeyError when other users can read or change `path`.

    `mend` is the command for its mode.
    """
    status = path.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise SigningKeyError(
            f"{path} belongs to another user (number {status.st_uid}), who can read and change it",
            hint="use a key of your own",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHER_USERS:
        raise SigningKeyError(
            f"other users can read {path} (mode {mode:04o}): consider its secret compromised",
            hint=f"{mend} {path}, and make a new key if others use this machine",
        )


def _project(path: Path) -> Path | None:
    """The project or git checkout that `path` is in."""
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if (place / ".git").exists() or any(place.glob("recipes/*.lock.toml")):
            return place
    return None


def _can_sign(block: Iterable[Sequence[str]]) -> bool:
    """Whether the key is valid, may sign, and its secret part is at hand."""
    parts = [fields for fields in block if fields[0] in ("sec", "ssb")]
    return parts[0][1] not in tuple(_UNUSABLE) and any(
        "s" in fields[11] and fields[1] not in tuple(_UNUSABLE) and fields[14] != _STUB
        for fields in parts
    )


def _key(block: Iterable[Sequence[str]], home: Path | None) -> Key:
    first: dict[str, str] = {}
    for fields in block:
        first.setdefault(fields[0], fields[9])
    return Key(fingerprint=first["fpr"], user_id=_unescape(first.get("uid", "")), home=home)


def _unescape(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)


def _fits(key: Key, name: str) -> bool:
    fingerprint = _FINGERPRINT.fullmatch(name.replace(" ", ""))
    if fingerprint:
        return key.fingerprint.endswith(fingerprint[1].upper())
    return name.casefold() in key.user_id.casefold()


def _none_fits(name: str | None, place: Path, keys: Sequence[Key]) -> SigningKeyError:
    problem = "no key to sign with" if name is None else f"no key that fits {name!r}"
    lines = [f"there is {key}" for key in keys]
    return SigningKeyError(
        "\n  ".join([f"there is {problem} in {place}", *lines]),
        hint="make one: edgeimg genkey --name NAME --email EMAIL",
    )
