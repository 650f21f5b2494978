"""The token of a fleet's cluster: made once, kept beside the fleet file, for its owner's eyes."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from pydantic import SecretStr

from edgeimg.errors import HostError, ProvisionError
from edgeimg.provision import masking
from edgeimg.text import bounded

_BYTES = 32
_LARGEST = 64 << 10
"""Bytes of the file."""


def kept(fleet: Path) -> Path:
    """Where the token of a fleet is: `gateways.toml` has `gateways.token`."""
    return fleet.with_suffix(".token")


def placeholder() -> SecretStr:
    """In the place of a token where a fleet is only looked at."""
    return SecretStr(masking.STARS)


def generate(fleet: Path) -> tuple[SecretStr, bool]:
    """The token beside a fleet file, and whether it was made just now.

    Raises ProvisionError for one that others can read, and where there is no such fleet; HostError
    when it cannot be kept.
    """
    path = kept(fleet)
    if not fleet.is_file():
        raise ProvisionError(f"there is no fleet file {fleet}")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read(path), False
    except OSError as error:
        raise HostError(f"cannot keep the token in {path}: {error.strerror}") from None
    token = secrets.token_hex(_BYTES)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return SecretStr(token), True


def _read(path: Path) -> SecretStr:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = bounded.read(path, _LARGEST).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(f"cannot read the token in {path}: {error}") from None
    if mode & 0o077:
        raise ProvisionError(
            f"others can read the token in {path} (mode {mode:o})", hint=f"chmod 600 {path}"
        )
    if not text:
        raise ProvisionError(f"{path} holds no token", hint="remove it: another one is made")
    return SecretStr(text)
