"""The keys of UEFI Secure Boot: PK, KEK and db, their certificates, and their signed variables.

Private keys are in a directory outside of the project. The project has the certificates (`.pem`)
and the variables as firmware and systemd-boot take them (`.auth`; UEFI 2.10, 8.2.2 and 32.4.1).
"""

from __future__ import annotations

import datetime
import functools
import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from edgeimg.cache.store import disk_errors, write_whole
from edgeimg.errors import SigningKeyError, ToolError, VerifyError
from edgeimg.trust import keys, openssl, pkcs7
from edgeimg.trust.pkcs7 import Certificate, Sign

DIRECTORY = Path("keys/secure-boot")
"""Where the project has certificates and variables, if it is not said otherwise."""
DB = "db"
_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_PKCS7 = UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
_ATTRIBUTES = 0x27
"""Non-volatile, for boot services and at run time, authenticated by time (8.2.1)."""
_NAME = re.compile(r"[^<>()/+\\\x00-\x1f\s][^<>()/+\\\x00-\x1f]{0,55}")
"""X.509 allows 64 characters, of which the variable takes some."""
_REVISION, _GUID_TYPE = 0x0200, 0x0EF1


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable with keys."""

    name: str
    vendor: UUID
    signer: str
    """The variable whose key must sign it."""


VARIABLES = (
    Variable(name="PK", vendor=_GLOBAL, signer="PK"),
    Variable(name="KEK", vendor=_GLOBAL, signer="PK"),
    Variable(name=DB, vendor=_SECURITY, signer="KEK"),
)
CERTIFICATES = tuple(f"{variable.name}.pem" for variable in VARIABLES)
AUTH = tuple(f"{variable.name}.auth" for variable in VARIABLES)


@dataclass(frozen=True, kw_only=True)
class BootSigner:
    """The key in db, ready to sign boot files."""

    certificate: Certificate
    sign: Sign


def generate(home: Path, public: Path, *, name: str, epoch: int) -> Mapping[str, Certificate]:
    """Make the three keys in `home`, and write certificates and variables to `public`.

    `epoch` (seconds) is the time in the variables: firmware takes only later ones after them.
    Raises SigningKeyError when `home` is no safe place or a file exists already, HostError
    without openssl, ToolError.
    """
    if not _NAME.fullmatch(name):
        raise SigningKeyError(
            f"{name!r} cannot be the name of a certificate: at most 56 characters, no <>()/+\\"
        )
    openssl.require()
    keys.guard(home, explicit=True)
    private = [home / f"{variable.name}.key" for variable in VARIABLES]
    for path in (*private, *(public / file for file in (*CERTIFICATES, *AUTH))):
        if path.exists():
            raise SigningKeyError(f"{path} exists already: it would be lost")
    with disk_errors(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in private:
            _write_secret(path, openssl.new_key())
    certificates = {
        variable.name: pkcs7.certificate(openssl.self_signed(path, f"{name} {variable.name}"))
        for variable, path in zip(VARIABLES, private, strict=True)
    }
    with disk_errors(public):
        public.mkdir(parents=True, exist_ok=True)
    for variable in VARIABLES:
        key = functools.partial(openssl.sign, key=home / f"{variable.signer}.key")
        data = auth(variable, certificates, owner=owner(certificates["PK"]), epoch=epoch, sign=key)
        write_whole(public / f"{variable.name}.pem", certificates[variable.name].pem)
        write_whole(public / f"{variable.name}.auth", data)
    return certificates


def signer(home: Path, public: Path) -> BootSigner:
    """The key of db in `home`, with its certificate in `public`.

    Raises SigningKeyError when it is missing, others can read it, or the certificate is of another
    key; HostError without openssl.
    """
    keys.guard(home, explicit=True)
    path = home / f"{DB}.key"
    if not path.is_file():
        raise SigningKeyError(
            f"there is no key {path}", hint="make it: edgeimg genkey --secure-boot DIRECTORY"
        )
    keys.refuse_open(path, "chmod 600")
    try:
        found = certificate(public)
    except VerifyError as error:
        raise SigningKeyError(error.message, hint=error.hint) from error
    try:
        same = openssl.public_key(path) == openssl.public_key_of_certificate(found.pem)
    except ToolError as error:
        raise SigningKeyError(f"openssl cannot use {path}: {error.message}") from error
    if not same:
        raise SigningKeyError(f"{path} is not the key of the certificate {public / DB}.pem")
    return BootSigner(certificate=found, sign=functools.partial(openssl.sign, key=path))


def certificate(public: Path) -> Certificate:
    """The certificate of db in the directory `public`. Raises VerifyError."""
    path = public / f"{DB}.pem"
    data = _read(path)
    try:
        return pkcs7.certificate(data)
    except VerifyError as error:
        raise VerifyError(f"{path}: {error.message}") from error


def read_auth(path: Path) -> bytes:
    """A variable as it is in a file: time, PKCS #7, one list of certificates. Raises VerifyError.

    Firmware judges the signature.
    """
    data = _read(path)
    length = int.from_bytes(data[16:20], "little")
    content = data[16 + length :]
    kind = struct.pack("<HH", _REVISION, _GUID_TYPE) + _PKCS7.bytes_le
    whole = length > 24 and len(content) > 44
    if not whole or data[20:40] != kind or content[:16] != _X509.bytes_le:
        raise VerifyError(f"{path} is no variable that `edgeimg genkey --secure-boot` wrote")
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(pkcs7.MAX_BYTES + 1)
    except OSError as error:
        raise VerifyError(
            f"cannot read {path}: {error.strerror}",
            hint="make it: edgeimg genkey --secure-boot DIRECTORY",
        ) from error
    if len(data) > pkcs7.MAX_BYTES:
        raise VerifyError(f"{path} is larger than {pkcs7.MAX_BYTES >> 10} KiB")
    return data


def owner(platform_key: Certificate) -> UUID:
    """The SignatureOwner of a maker's keys."""
    return uuid5(NAMESPACE_OID, platform_key.fingerprint)


def signature_list(certificate: Certificate, owner: UUID) -> bytes:
    """An EFI_SIGNATURE_LIST with one certificate (32.4.1)."""
    entry = owner.bytes_le + certificate.data
    head = struct.pack("<III", 28 + len(entry), 0, len(entry))
    return _X509.bytes_le + head + entry


def auth(
    variable: Variable,
    certificates: Mapping[str, Certificate],
    *,
    owner: UUID,
    epoch: int,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """A variable with its certificate as EFI_VARIABLE_AUTHENTICATION_2 (8.2.2).

    Equal arguments give equal bytes.
    """
    content = signature_list(certificates[variable.name], owner)
    time = _efi_time(epoch)
    signed = variable.name.encode("utf-16-le") + variable.vendor.bytes_le
    signed += struct.pack("<I", _ATTRIBUTES) + time + content
    message = pkcs7.detached(signed, certificates[variable.signer], sign)
    head = struct.pack("<IHH", 24 + len(message), _REVISION, _GUID_TYPE)
    return time + head + _PKCS7.bytes_le + message + content


def _efi_time(epoch: int) -> bytes:
    """EFI_TIME in UTC; all but date and time is zero, as 8.2.2 requires."""
    at = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    return struct.pack("<H5B9x", at.year, at.month, at.day, at.hour, at.minute, at.second)


def _write_secret(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
