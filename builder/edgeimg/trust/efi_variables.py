"""Variables of UEFI Secure Boot as signed files (`.auth`; UEFI 2.10, 8.2.2 and 32.4.1).

A file is in the one encoding that `encode` writes: equal arguments give equal bytes.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from edgeimg.errors import VerifyError
from edgeimg.trust import openssl, pkcs7
from edgeimg.trust.pkcs7 import Certificate, Sign

_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_SHA256 = UUID("c1c41626-504c-4092-aca9-41f936934328")
_PKCS7 = UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
ATTRIBUTES = 0x27
"""Non-volatile, for boot services and at run time, authenticated by time (8.2.1)."""
APPEND = 0x40
"""EFI_VARIABLE_APPEND_WRITE: the content is added to the variable."""
_REVISION, _GUID_TYPE = 0x0200, 0x0EF1
_TIME, _HEAD = 16, 24
"""Bytes of EFI_TIME, and of WIN_CERTIFICATE_UEFI_GUID."""
_LIST, _OWNER = 28, 16
"""Bytes before the entries of an EFI_SIGNATURE_LIST, and before the content of each."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable with keys or digests."""

    name: str
    vendor: UUID
    signer: str
    """The variable whose key must sign it."""
    append: bool = False
    """A file of it adds to what firmware has."""


PK = Variable(name="PK", vendor=_GLOBAL, signer="PK")
KEK = Variable(name="KEK", vendor=_GLOBAL, signer="PK")
DB = Variable(name="db", vendor=_SECURITY, signer="KEK")
DB_APPEND = Variable(name="db", vendor=_SECURITY, signer="KEK", append=True)
DBX = Variable(name="dbx", vendor=_SECURITY, signer="KEK", append=True)


def certificate_list(certificate: Certificate, owner: UUID) -> bytes:
    """An EFI_SIGNATURE_LIST with one certificate (EFI_CERT_X509_GUID)."""
    return _list(_X509, [certificate.data], owner)


def digest_list(digests: Sequence[bytes], owner: UUID) -> bytes:
    """An EFI_SIGNATURE_LIST with Authenticode digests of programs (EFI_CERT_SHA256_GUID)."""
    return _list(_SHA256, digests, owner)


def digests(content: bytes) -> tuple[bytes, ...]:
    """The digests in a list that `digest_list` wrote. Raises VerifyError for other bytes."""
    owner = content[_LIST : _LIST + _OWNER]
    entries = content[_LIST:]
    step = _OWNER + 32
    found = tuple(entries[at + _OWNER : at + step] for at in range(0, len(entries), step))
    if len(owner) < _OWNER or digest_list(found, UUID(bytes_le=owner)) != content:
        raise VerifyError("it is no list of digests")
    return found


def encode(
    variable: Variable, content: bytes, signer: Certificate, *, epoch: int, sign: Sign
) -> bytes:
    """A variable as EFI_VARIABLE_AUTHENTICATION_2 (8.2.2). `epoch` is its time, in seconds.

    Firmware replaces a variable only by one with a later time.
    """
    at = time(epoch)
    return _envelope(at, pkcs7.detached(_signed(variable, at, content), signer, sign), content)


def decode(data: bytes, variable: Variable, signer: Certificate) -> tuple[bytes, bytes]:
    """Content and time of a variable that the key of `signer` signed.

    Raises VerifyError for any byte that `encode` would not write. HostError without openssl.
    """
    at, content = data[:_TIME], data[_TIME + int.from_bytes(data[_TIME : _TIME + 4], "little") :]
    size = signer.bits // 8
    signature = data[len(data) - len(content) - size : len(data) - len(content)]
    signed = _signed(variable, at, content)
    message = pkcs7.detached(signed, signer, lambda _: signature)
    if _envelope(at, message, content) != data:
        raise VerifyError(
            f"it is no {variable.name} that edgeimg signed with the key of {variable.signer}.pem"
        )
    if not openssl.verify(signed, signature, openssl.public_key_of_certificate(signer.pem)):
        raise VerifyError(f"its signature is not by the key of {variable.signer}.pem")
    return content, at


def time(epoch: int) -> bytes:
    """EFI_TIME in UTC; all but date and time is zero, as 8.2.2 requires."""
    at = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    return struct.pack("<H5B9x", at.year, at.month, at.day, at.hour, at.minute, at.second)


def is_later(at: bytes, than: bytes) -> bool:
    """Whether an EFI_TIME is later than another one (both of this module)."""
    return struct.unpack("<H5B9x", at) > struct.unpack("<H5B9x", than)


def _list(kind: UUID, entries: Sequence[bytes], owner: UUID) -> bytes:
    size = _OWNER + len(entries[0]) if entries else _OWNER
    body = b"".join(owner.bytes_le + entry for entry in entries)
    return kind.bytes_le + struct.pack("<III", _LIST + len(body), 0, size) + body


def _signed(variable: Variable, at: bytes, content: bytes) -> bytes:
    """What the signature is for."""
    attributes = ATTRIBUTES | (APPEND if variable.append else 0)
    head = variable.name.encode("utf-16-le") + variable.vendor.bytes_le
    return head + struct.pack("<I", attributes) + at + content


def _envelope(at: bytes, message: bytes, content: bytes) -> bytes:
    head = struct.pack("<IHH", _HEAD + len(message), _REVISION, _GUID_TYPE)
    return at + head + _PKCS7.bytes_le + message + content
