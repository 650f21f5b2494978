"""Tokens of a fleet's gateways at the roll-out server: a file beside the fleet file, for its owner.

Each line has the name of a gateway, a space and its token.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from edgeimg.errors import HostError, ProvisionError
from edgeimg.text import bounded

LARGEST = 16 << 20
"""Bytes of the file."""
_BYTES = 32
_FORM = r"[A-Za-z0-9._~+/=-]{1,128}"
_LINE = re.compile(rf"([a-z0-9-]{{1,63}}) ({_FORM})")


@dataclass(frozen=True, kw_only=True)
class RolloutTokens:
    """Tokens by the name of their gateway."""

    by_name: Mapping[str, SecretStr] = field(default_factory=dict)
    placeholder: SecretStr | None = None
    """For gateways with [rollout] and without a token, where a fleet is only looked at."""


def kept(fleet: Path) -> Path:
    """Where the tokens of a fleet are: `gateways.toml` has `gateways.rollout`."""
    return fleet.with_suffix(".rollout")


def new() -> SecretStr:
    """A token of 256 random bits."""
    return SecretStr(secrets.token_hex(_BYTES))


def is_token(token: SecretStr) -> bool:
    """Whether the agent takes it: 1 to 128 characters of the form that [rollout] takes."""
    return re.fullmatch(_FORM, token.get_secret_value()) is not None


@contextlib.contextmanager
def locked(fleet: Path) -> Iterator[None]:
    """Nobody else reads and writes the tokens of a fleet meanwhile. Raises HostError."""
    path = kept(fleet)
    lock = path.with_name(f".{path.name}.lock")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"cannot keep the tokens in {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_unreadable(fleet: Path) -> bool:
    """Whether there are tokens, and this user may not read them."""
    path = kept(fleet)
    return path.exists() and not os.access(path, os.R_OK)


def read(fleet: Path) -> dict[str, SecretStr]:
    """The tokens beside a fleet file; empty without the file.

    Raises ProvisionError for a file that others can read, and for a line of another form.
    """
    path = kept(fleet)
    try:
        with bounded.opened(path) as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProvisionError(f"cannot read the tokens in {path}: {error.strerror}") from None
    if mode & 0o077:
        raise ProvisionError(
            f"others can read the tokens in {path} (mode {mode:o})", hint=f"chmod 600 {path}"
        )
    if len(raw) > LARGEST:
        raise ProvisionError(f"{path} is larger than {LARGEST >> 20} MiB")
    found: dict[str, SecretStr] = {}
    for number, line in enumerate(raw.decode(errors="replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[1] in found:
            raise ProvisionError(
                f"{path}:{number}: expected the name of a gateway, once, a space and its token"
            )
        found[match[1]] = SecretStr(match[2])
    return found


def keep(fleet: Path, tokens: Mapping[str, SecretStr]) -> None:
    """Write the tokens beside a fleet file: whole, mode 0600, on the disk.

    The caller has the lock. Raises HostError; ValueError for a token that `read` would refuse.
    """
    lines = [f"{name} {token.get_secret_value()}" for name, token in sorted(tokens.items())]
    if not all(map(_LINE.fullmatch, lines)):
        raise ValueError("a name or a token of another form")
    path = kept(fleet)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # of a run that was killed
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HostError(f"cannot keep the tokens in {path}: {error.strerror}") from None
