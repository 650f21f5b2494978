"""The keys of UEFI Secure Boot: PK, KEK and db, their certificates, and their signed variables.

Private keys are in a directory outside of the project. The project has the certificates (`.pem`)
and the variables as firmware and systemd-boot take them (`.auth`, see `efi_variables`).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from edgeimg.cache.store import disk_errors
from edgeimg.errors import SigningKeyError, ToolError, VerifyError
from edgeimg.text import bounded
from edgeimg.trust import efi_variables, openssl, pkcs7
from edgeimg.trust.boot_keys import BootKeys
from edgeimg.trust.efi_variables import DB, DB_APPEND, DBX, KEK, PK
from edgeimg.trust.pkcs7 import Certificate, Sign

DIRECTORY = Path("keys/secure-boot")
"""Where the project has certificates and variables, if it is not said otherwise."""
VARIABLES = (PK, KEK, DB)
CERTIFICATES = tuple(f"{variable.name}.pem" for variable in VARIABLES)
AUTH = tuple(f"{variable.name}.auth" for variable in VARIABLES)
REVOKED = f"{DBX.name}.auth"
APPEND = f"{DB.name}-append.auth"
"""The certificate of db, to be added to others: see `rotation`."""
_NAME = re.compile(r"[^<>()/+\\\x00-\x1f\s][^<>()/+\\\x00-\x1f]{0,55}")
"""X.509 allows 64 characters, of which the variable takes some."""
_MAKE = "make it: edgeimg genkey --secure-boot DIRECTORY"


@dataclass(frozen=True, kw_only=True)
class BootSigner:
    """A key with its certificate, ready to sign."""

    certificate: Certificate
    sign: Sign


def generate(home: BootKeys, public: Path, *, name: str, epoch: int) -> Mapping[str, Certificate]:
    """Make the three keys in `home`, and write certificates and variables to `public`.

    `epoch` (seconds) is the time in the variables: firmware takes only later ones after them.
    `public` appears whole or not at all. Keys that `home` has already are used: so a second run
    completes one that was interrupted. Raises SigningKeyError when `home` is no safe place or
    `public` has files already, HostError without openssl, ToolError.
    """
    check_name(name)
    openssl.require()
    home.check()
    refuse_used(public)
    for variable in VARIABLES:
        if variable.name not in home.names(variable.name):
            home.make(variable.name)
    certificates = {
        variable.name: home.certificate(variable.name, f"{name} {variable.name}")
        for variable in VARIABLES
    }
    files = {}
    for variable in VARIABLES:
        certificate = certificates[variable.name]
        files[f"{variable.name}.pem"] = certificate.pem
        files[f"{variable.name}.auth"] = efi_variables.encode(
            variable,
            efi_variables.certificate_list(certificate, owner(certificates[PK.name])),
            certificates[variable.signer],
            epoch=epoch,
            sign=functools.partial(home.sign, variable.signer),
        )
    publish(public, files)
    return certificates


def signer(home: BootKeys, public: Path, variable: str = DB.name) -> BootSigner:
    """The key in `home` for a certificate in `public`: that of the variable, or a rotated one.

    Raises SigningKeyError when it is missing, others can read it, or no key is the certificate's;
    HostError without openssl.
    """
    home.check()
    names = home.names(variable)
    if not names:
        raise SigningKeyError(f"there is no key {variable} in {home}", hint=_MAKE)
    try:
        found = certificate(public, variable)
        wanted = openssl.public_key_of_certificate(found.pem)
    except VerifyError as error:
        raise SigningKeyError(error.message, hint=error.hint) from error
    except ToolError as error:
        raise SigningKeyError(f"openssl cannot use {public / variable}.pem: {error}") from error
    for name in names:
        if home.public(name) == wanted:
            return BootSigner(certificate=found, sign=functools.partial(home.sign, name))
    known = " or ".join(names)
    raise SigningKeyError(
        f"{known} in {home} is not the key of the certificate {public / variable}.pem"
    )


def certificate(public: Path, variable: str = DB.name) -> Certificate:
    """The certificate of a variable in the directory `public`. Raises VerifyError."""
    path = public / f"{variable}.pem"
    data = read(path)
    try:
        return pkcs7.certificate(data)
    except VerifyError as error:
        raise VerifyError(f"{path}: {error.message}", hint=error.hint) from error


def variables(public: Path) -> dict[str, bytes]:
    """The variables of a directory by file name, as firmware takes them.

    Each holds the certificate beside it and nothing else, and is signed by the key of the
    certificate above it. `dbx.auth` is among them if it is there. Raises VerifyError; HostError
    without openssl.
    """
    certificates = {variable.name: certificate(public, variable.name) for variable in VARIABLES}
    files = [(variable, f"{variable.name}.auth") for variable in VARIABLES]
    if (public / APPEND).exists():
        files.append((DB_APPEND, APPEND))
    found = {}
    for variable, name in files:
        path = public / name
        found[name] = read(path)
        content, _ = decode(path, found[name], variable, certificates[variable.signer])
        wanted = certificates[variable.name]
        if content != efi_variables.certificate_list(wanted, owner(certificates[PK.name])):
            raise VerifyError(
                f"{path}: the certificate in it is not the one of {variable.name}.pem",
                hint="restore both from the same commit",
            )
    found.pop(APPEND, None)
    if revoked(public):
        found[REVOKED] = read(public / REVOKED)
    return found


def revoked(public: Path) -> tuple[bytes, ...]:
    """The digests of programs that `dbx.auth` revokes, in its order; none without the file.

    Raises VerifyError for a file that the key of KEK.pem did not sign; HostError without openssl.
    """
    path = public / REVOKED
    if not path.exists() and not path.is_symlink():
        return ()
    content, _ = decode(path, read(path), DBX, certificate(public, KEK.name))
    try:
        return efi_variables.digests(content)
    except VerifyError as error:
        raise VerifyError(f"{path}: {error.message}") from error


def decode(
    path: Path, data: bytes, variable: efi_variables.Variable, signer: Certificate
) -> tuple[bytes, bytes]:
    """Content and time of the variable in a file. Raises VerifyError, which names the file."""
    try:
        return efi_variables.decode(data, variable, signer)
    except VerifyError as error:
        raise VerifyError(f"{path}: {error.message}") from error
    except ToolError as error:
        raise VerifyError(f"{path}: openssl cannot check it: {error.message}") from error


def owner(platform_key: Certificate) -> UUID:
    """The SignatureOwner of a maker's keys."""
    return uuid5(NAMESPACE_OID, platform_key.fingerprint)


def check_name(name: str) -> None:
    """Raises SigningKeyError for a name that no certificate can have."""
    if not _NAME.fullmatch(name):
        raise SigningKeyError(
            f"{name!r} cannot be the name of a certificate: at most 56 characters, no <>()/+\\"
        )


def refuse_used(public: Path) -> None:
    """Raises SigningKeyError when there are files in the place of a new directory."""
    for path in sorted(public.iterdir()) if public.is_dir() else [public]:
        if path.exists() or path.is_symlink():
            raise SigningKeyError(
                f"{path} exists already: it would be lost", hint="choose another --export"
            )


def publish(public: Path, files: Mapping[str, bytes]) -> None:
    """Write the directory `public` with these files, whole or not at all. Raises HostError."""
    partial = public.with_name(f".{public.name}.partial")
    with disk_errors(public):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        for name, data in files.items():
            with (partial / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.rename(public)


def read(path: Path) -> bytes:
    """A certificate or variable. Raises VerifyError when it is missing or too large."""
    try:
        with bounded.opened(path) as file:
            data = file.read(pkcs7.MAX_BYTES + 1)
    except OSError as error:
        raise VerifyError(f"cannot read {path}: {error.strerror}", hint=_MAKE) from error
    if len(data) > pkcs7.MAX_BYTES:
        raise VerifyError(f"{path} is larger than {pkcs7.MAX_BYTES >> 10} KiB")
    return data
