"""PKCS #7 signed data (RFC 2315) in the one encoding that edgeimg writes and accepts.

One signer, SHA-256 and RSA, no time: equal documents and keys give equal bytes, and every byte is
either fixed, or signed, or the signature.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from edgeimg.errors import VerifyError

INTEGER, BITS, OCTETS, NULL, OID, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x31
"""Tags of X.690, 8."""
_VERSION_TAG = 0xA0
MAX_BYTES = 64 << 10
"""Of a certificate file."""
RSA_BITS = (2048, 3072, 4096)
"""Sizes of keys. UEFI 2.10, 32.4.1 requires 2048 of firmware."""
_DATA = bytes.fromhex("2a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_RSA = bytes.fromhex("2a864886f70d010101")
_SHA256 = bytes.fromhex("608648016503040201")
_PEM = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*"
)
Sign = Callable[[bytes], bytes]
"""The RSA signature (PKCS #1 1.5, SHA-256) of a document."""


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER (X.690, 10)."""
    body = b"".join(parts)
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + body


def algorithm(name: bytes) -> bytes:
    """An algorithm identifier without parameters."""
    return der(SEQUENCE, der(OID, name), der(NULL))


SHA256 = algorithm(_SHA256)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """An X.509 certificate (RFC 5280)."""

    data: bytes
    """DER."""
    issuer: bytes
    serial: bytes
    """DER, as in the certificate."""
    bits: int
    """Of its RSA key."""

    @property
    def pem(self) -> bytes:
        """The certificate as text."""
        text = base64.encodebytes(self.data)
        return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal."""
        return sha256(self.data).hexdigest()

    def signed(self, sign: Sign) -> Certificate:
        """The same certificate with another signature (RFC 5280, 4.1.1.3), by an RSA key."""
        outer, _ = _element(self.data, 0, SEQUENCE)
        _, end = _element(outer, 0, SEQUENCE)
        _, algorithm_end = _element(outer, end, SEQUENCE)
        signature = der(BITS, b"\0", sign(outer[:end]))
        return replace(self, data=der(SEQUENCE, outer[:algorithm_end], signature))


def certificate(pem: bytes) -> Certificate:
    """The only certificate in a PEM file, of an RSA key of a size in `RSA_BITS`.

    Raises VerifyError for anything else.
    """
    match = _PEM.fullmatch(pem) if len(pem) <= MAX_BYTES else None
    if match is None:
        raise VerifyError("it is not one certificate in PEM")
    try:
        data = base64.b64decode(b"".join(match[1].split()), validate=True)
        serial, issuer, key = _fields(data)
        bits = _rsa_bits(key)
    except (ValueError, IndexError) as error:
        raise VerifyError(f"it is no X.509 certificate: {error}") from None
    if bits not in RSA_BITS:
        sizes = ", ".join(map(str, RSA_BITS))
        kind = f"an RSA key of {bits} bits" if bits else "a key that is not RSA"
        raise VerifyError(
            f"it is the certificate of {kind}; Secure Boot takes RSA of {sizes} bits",
            hint="make the keys: edgeimg genkey --secure-boot DIRECTORY",
        )
    return Certificate(data=data, serial=serial, issuer=issuer, bits=bits)


def _fields(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Serial number, issuer, and the body of the subject's public key (RFC 5280, 4.1).

    Raises ValueError, IndexError.
    """
    outer, end = _element(data, 0, SEQUENCE)
    if end != len(data):
        raise ValueError("data behind the certificate")
    body, _ = _element(outer, 0, SEQUENCE)
    at_serial = _element(body, 0, _VERSION_TAG)[1] if body[:1] == bytes((_VERSION_TAG,)) else 0
    _, after_serial = _element(body, at_serial, INTEGER)
    _, after_algorithm = _element(body, after_serial, SEQUENCE)
    _, after_issuer = _element(body, after_algorithm, SEQUENCE)
    at = after_issuer
    for _ in ("validity", "subject"):
        _, at = _element(body, at, SEQUENCE)
    key, _ = _element(body, at, SEQUENCE)
    return body[at_serial:after_serial], body[after_algorithm:after_issuer], key


def _rsa_bits(key: bytes) -> int:
    """Bits of an RSA key's modulus (RFC 3279, 2.3.1); 0 for another kind of key.

    `key` is the body of a SubjectPublicKeyInfo. Raises ValueError, IndexError.
    """
    kind, at = _element(key, 0, SEQUENCE)
    if _element(kind, 0, OID)[0] != _RSA:
        return 0
    bits, _ = _element(key, at, BITS)
    modulus, _ = _element(_element(bits, 1, SEQUENCE)[0], 0, INTEGER)
    return int.from_bytes(modulus).bit_length()


def detached(document: bytes, signer: Certificate, sign: Sign) -> bytes:
    """Signed data without its document, as variables of UEFI have it (UEFI 2.10, 8.2.2)."""
    return _signed_data(der(SEQUENCE, der(OID, _DATA)), signer, b"", sign(document))


def attributes(kind: bytes, document: bytes) -> bytes:
    """The signed attributes of a document of the type `kind`: what is signed in its place."""
    return der(
        SET,
        der(SEQUENCE, der(OID, _CONTENT_TYPE), der(SET, der(OID, kind))),
        der(SEQUENCE, der(OID, _MESSAGE_DIGEST), der(SET, der(OCTETS, sha256(document).digest()))),
    )


def attached(kind: bytes, document: bytes, signer: Certificate, signature: bytes) -> bytes:
    """A whole PKCS #7 message with `document`, the body of a sequence, of the type `kind`.

    `signature` is that of `attributes(kind, document)`.
    """
    content = der(SEQUENCE, der(OID, kind), der(0xA0, der(SEQUENCE, document)))
    signed = b"\xa0" + attributes(kind, document)[1:]
    data = _signed_data(content, signer, signed, signature)
    return der(SEQUENCE, der(OID, _SIGNED_DATA), der(0xA0, data))


def _signed_data(content: bytes, signer: Certificate, signed: bytes, signature: bytes) -> bytes:
    version = der(INTEGER, b"\x01")
    info = der(
        SEQUENCE,
        version,
        der(SEQUENCE, signer.issuer, signer.serial),
        SHA256,
        signed,
        algorithm(_RSA),
        der(OCTETS, signature),
    )
    return der(SEQUENCE, version, der(SET, SHA256), content, der(0xA0, signer.data), der(SET, info))


def _element(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """The body of the element at `at`, and where it ends. Raises ValueError, IndexError."""
    if data[at] != tag:
        raise ValueError(f"tag {data[at]:#x} in place of {tag:#x}")
    size, at = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 3:
            raise ValueError("a length of another form")
        size, at = int.from_bytes(data[at : at + count]), at + count
    if at + size > len(data):
        raise ValueError("it is truncated")
    return data[at : at + size], at + size
