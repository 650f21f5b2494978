"""A new key for db, and programs that must not start any more (UEFI 2.10, 32.4.1 and 32.5.1).

Both are changes that the KEK signs, for gateways that know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from edgeimg.cache.store import write_whole
from edgeimg.errors import SigningKeyError, VerifyError
from edgeimg.trust import authenticode, efi_variables, pkcs7, secure_boot
from edgeimg.trust.boot_keys import BootKeys
from edgeimg.trust.efi_variables import DB, DB_APPEND, DBX, KEK, PK
from edgeimg.trust.pkcs7 import Certificate


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """A new key of db."""

    key: str
    """Its name."""
    certificate: Certificate


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """Programs in dbx."""

    added: tuple[bytes, ...]
    """Digests that the file did not have before."""
    total: int


def rotate(home: BootKeys, old: Path, public: Path, *, name: str, epoch: int) -> Rotated:
    """Make another key of db in `home`, and a new directory `public` with its certificate.

    PK, KEK and dbx are those of the directory `old`, which stays as it is. `db.auth` replaces the
    old certificate, `db-append.auth` adds the new one to it; the KEK signs both. `epoch` (seconds)
    is their time. Raises SigningKeyError when a key or the directory `old` cannot be used, or the
    time is not later than the one of the old `db.auth`; HostError, ToolError.
    """
    secure_boot.check_name(name)
    kek = secure_boot.signer(home, old, KEK.name)
    secure_boot.refuse_used(public)
    try:
        before = secure_boot.variables(old)
        platform = secure_boot.certificate(old, PK.name)
        _, time = efi_variables.decode(before[f"{DB.name}.auth"], DB, kek.certificate)
    except VerifyError as error:
        raise SigningKeyError(error.message, hint=error.hint) from error
    known = home.names(DB.name)
    candidates = (f"{DB.name}-{number}" for number in count(2))
    key = next(name for name in candidates if name not in known)
    if not efi_variables.is_later(efi_variables.time(epoch), time):
        raise SigningKeyError(
            f"the time of the new key is not later than that of {old / DB.name}.auth: firmware "
            "would refuse it",
            hint="set the clock of this host, or SOURCE_DATE_EPOCH",
        )
    home.make(key)
    certificate = home.certificate(key, f"{name} {DB.name}")
    content = efi_variables.certificate_list(certificate, secure_boot.owner(platform))
    updates = {
        file: efi_variables.encode(variable, content, kek.certificate, epoch=epoch, sign=kek.sign)
        for file, variable in ((f"{DB.name}.auth", DB), (secure_boot.APPEND, DB_APPEND))
    }
    kept = {file: content for file, content in before.items() if file not in updates}
    for file in (f"{PK.name}.pem", f"{KEK.name}.pem"):
        kept[file] = secure_boot.read(old / file)
    secure_boot.publish(public, {**kept, f"{DB.name}.pem": certificate.pem, **updates})
    return Rotated(key=key, certificate=certificate)


def revoke(home: BootKeys, public: Path, digests: Iterable[bytes], *, epoch: int) -> Revoked:
    """Add digests of programs to `dbx.auth` in the directory `public`; the KEK in `home` signs it.

    The file holds all digests ever added: firmware adds those that it does not have. Raises
    SigningKeyError when the key or the file cannot be used, or the file would be too large.
    """
    kek = secure_boot.signer(home, public, KEK.name)
    try:
        known = secure_boot.revoked(public)
        platform = secure_boot.certificate(public, PK.name)
    except VerifyError as error:
        raise SigningKeyError(error.message, hint=error.hint) from error
    added = tuple(digest for digest in dict.fromkeys(digests) if digest not in known)
    if added:
        content = efi_variables.digest_list((*known, *added), secure_boot.owner(platform))
        data = efi_variables.encode(DBX, content, kek.certificate, epoch=epoch, sign=kek.sign)
        if len(data) > pkcs7.MAX_BYTES:
            raise SigningKeyError(
                f"{public / secure_boot.REVOKED} would be larger than {pkcs7.MAX_BYTES >> 10} KiB",
                hint="firmware has less room than that: make a new key of db instead",
            )
        write_whole(public / secure_boot.REVOKED, data)
    return Revoked(added=added, total=len(known) + len(added))


def digest(program: bytes) -> bytes:
    """What dbx has of a program, signed or not. Raises ImageError, VerifyError."""
    signed = authenticode.is_signed(program)
    return authenticode.digest(authenticode.split(program)[0] if signed else program)
