"""Where the private keys of Secure Boot are: files of a directory, or a PKCS #11 token."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeimg.cache.store import disk_errors
from edgeimg.errors import SigningKeyError, ToolError, VerifyError
from edgeimg.trust import keys, openssl, pkcs7
from edgeimg.trust.pkcs7 import Certificate


class BootKeys(Protocol):
    """RSA keys with names: those of variables (PK, KEK, db), and db-2 and so on."""

    def __str__(self) -> str:
        """The place, for messages."""

    def check(self) -> None:
        """Raises SigningKeyError when keys would not be safe there, or cannot be reached."""

    def names(self, variable: str) -> Sequence[str]:
        """The keys for a variable that are there, oldest first. Raises SigningKeyError."""

    def make(self, name: str) -> None:
        """Make a key, whole or not at all. Raises SigningKeyError, HostError, ToolError."""

    def public(self, name: str) -> bytes:
        """The public key in PEM. Raises SigningKeyError."""

    def certificate(self, name: str, subject: str) -> Certificate:
        """A certificate by the key itself, with `subject` as common name.

        Raises SigningKeyError for other keys than RSA.
        """

    def sign(self, name: str, document: bytes) -> bytes:
        """The signature (PKCS #1 1.5, SHA-256) of `document`. Raises SigningKeyError, ToolError."""


def of_variable(names: Sequence[str], variable: str) -> tuple[str, ...]:
    """Those of `names` that are for a variable: `db`, `db-2`, `db-3`."""
    numbered = {}
    for name in names:
        stem, dash, number = name.partition("-")
        if stem == variable and (not dash or number.isdecimal()):
            numbered[name] = int(number or 1)
    return tuple(sorted(numbered, key=lambda name: numbered[name]))


@dataclass(frozen=True)
class KeyDirectory:
    """Keys in files without passphrase, NAME.key, in a directory outside of the project."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Raises SigningKeyError when others can read the directory, or it is in a project."""
        keys.guard(self.path, explicit=True)

    def names(self, variable: str) -> Sequence[str]:
        """The keys for a variable. Raises SigningKeyError when others can read one."""
        names = of_variable([path.stem for path in self.path.glob("*.key")], variable)
        for name in names:
            keys.refuse_open(self._file(name), "chmod 600")
        return names

    def make(self, name: str) -> None:
        """Make an RSA key in a file, whole or not at all. Raises HostError, ToolError."""
        path = self._file(name)
        partial = path.with_name(f".{path.name}.partial")
        with disk_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                partial.unlink()
            opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(opened, "wb") as file:
                    file.write(openssl.new_key())
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            finally:
                with suppress(FileNotFoundError):
                    partial.unlink()

    def public(self, name: str) -> bytes:
        """The public key in PEM. Raises SigningKeyError for a file that holds no key."""
        try:
            return openssl.public_key(self._file(name))
        except ToolError as error:
            message = f"openssl cannot use {self._file(name)}: {error.message}"
            raise SigningKeyError(message) from error

    def certificate(self, name: str, subject: str) -> Certificate:
        """A certificate by the key itself. Raises SigningKeyError for other keys than RSA."""
        try:
            return pkcs7.certificate(openssl.self_signed(self._file(name), subject))
        except (ToolError, VerifyError) as error:
            raise SigningKeyError(f"{self._file(name)} cannot be used: {error.message}") from error

    def sign(self, name: str, document: bytes) -> bytes:
        """The signature of `document`. Equal arguments give equal bytes."""
        return openssl.sign(document, self._file(name))

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.key"
