"""The shape of OpenPGP data (RFC 4880): which bytes a signature may have at all.

A signature covers neither its packet header, nor its unhashed area, nor how its numbers are
written: those bytes could be changed, and gpgv would still accept it. So there is one
form only in which a signature of a release is accepted, the one gpg writes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

HASHES = {8: "sha256", 9: "sha384", 10: "sha512"}
"""Of RFC 4880, 9.4: those strong enough."""
_SIGNATURE_SHORT, _SIGNATURE_LONG = 0x88, 0x89
"""Old-format headers of tag 2 with a length of one and of two bytes (4.2.1)."""
_ISSUER, _ISSUER_FINGERPRINT = 16, 33
_PUBLIC, _SECRET, _SECRET_SUBKEY = 6, 5, 7
_ARMOR = re.compile(
    rb"-----BEGIN PGP (?P<kind>[A-Z ]+)-----\r?\n(?:[^\r\n]+\r?\n)*[ \t]*\r?\n"
    rb"(?P<data>[A-Za-z0-9+/=\s]+?)(?:=[A-Za-z0-9+/]{4}\s*)?-----END PGP (?P=kind)-----"
)
_KEYBOX = b"KBXf"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A version 4 signature over a binary document (5.2.3)."""

    kind: int
    key_algorithm: int
    hash_algorithm: int
    hashed: bytes
    """Subpackets that the signature covers."""
    unhashed: bytes
    start: bytes
    """The first two bytes of the digest."""
    numbers: tuple[bytes, ...]
    """Big-endian, without leading zeros."""

    def encode(self) -> bytes:
        """The one form it is accepted in."""
        body = b"".join(
            (
                self._head(),
                len(self.unhashed).to_bytes(2),
                self.unhashed,
                self.start,
                *(_bits(number).to_bytes(2) + number for number in self.numbers),
            )
        )
        if len(body) < 1 << 8:
            return bytes((_SIGNATURE_SHORT, len(body))) + body
        return bytes((_SIGNATURE_LONG,)) + len(body).to_bytes(2) + body

    def digest(self, document: bytes) -> bytes:
        """The signed bytes (5.2.4)."""
        head = self._head()
        trailer = b"\x04\xff" + len(head).to_bytes(4)
        return hashlib.new(HASHES[self.hash_algorithm], document + head + trailer).digest()

    @property
    def issuer(self) -> bytes:
        """Fingerprint of the key that made it; empty when it has none."""
        fingerprints = [
            body[1:] for kind, body in _subpackets(self.hashed) if kind == _ISSUER_FINGERPRINT
        ]
        return fingerprints[0] if len(fingerprints) == 1 else b""

    def _head(self) -> bytes:
        algorithms = bytes((4, self.kind, self.key_algorithm, self.hash_algorithm))
        return algorithms + len(self.hashed).to_bytes(2) + self.hashed


def signature(data: bytes, document: bytes) -> Signature:
    """The only signature in `data`, over `document`. gpgv decides whether it is valid.

    Raises ValueError when it is in any other form than that of gpg, or for another document.
    """
    try:
        parsed = _parse(data)
        issuer = parsed.issuer
    except IndexError:
        raise ValueError("it is truncated") from None
    if parsed.kind != 0 or parsed.hash_algorithm not in HASHES:
        raise ValueError("it is no signature of a file with SHA-256 or better")
    if len(issuer) != 20:
        raise ValueError("it does not name the key it was made with")
    if parsed.unhashed != bytes((9, _ISSUER)) + issuer[-8:]:
        raise ValueError("it contains data that is not signed")
    if parsed.encode() != data:
        raise ValueError("it is not in the form that gpg writes")
    if parsed.digest(document)[:2] != parsed.start:
        raise ValueError("it is for other bytes")
    return parsed


def public_keys(data: bytes) -> bytes:
    """The keyring in a public key file, armored (6.2) or not, as gpgv reads it.

    Raises ValueError when it has no public key, or a secret one.
    """
    blocks = list(_ARMOR.finditer(data))
    for block in blocks:
        if block["kind"] != b"PUBLIC KEY BLOCK":
            raise ValueError(f"it holds a {block['kind'].decode().lower()}, not a public key")
    if blocks:
        data = b"".join(base64.b64decode(block["data"]) for block in blocks)
    if data[8:12] == _KEYBOX:
        return data
    tag = _tag(data[0]) if data else 0
    if tag in (_SECRET, _SECRET_SUBKEY):
        raise ValueError("it holds a secret key, not a public one")
    if tag != _PUBLIC:
        raise ValueError("it is no OpenPGP public key")
    return data


def _parse(data: bytes) -> Signature:
    head = {_SIGNATURE_SHORT: 2, _SIGNATURE_LONG: 3}.get(data[0] if data else 0)
    if head is None or data[head : head + 1] != b"\x04":
        raise ValueError("it is no detached binary OpenPGP signature of version 4")
    hashed, at = _counted(data, head + 4)
    unhashed, at = _counted(data, at)
    numbers = []
    remaining = data[at + 2 :]
    while remaining:
        size = (int.from_bytes(remaining[:2]) + 7) // 8
        if len(remaining) < 2 + size:
            raise ValueError("it is truncated, or something follows it")
        numbers.append(remaining[2 : 2 + size])
        remaining = remaining[2 + size :]
    return Signature(
        kind=data[head + 1],
        key_algorithm=data[head + 2],
        hash_algorithm=data[head + 3],
        hashed=hashed,
        unhashed=unhashed,
        start=data[at : at + 2],
        numbers=tuple(numbers),
    )


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes behind their count of two bytes, and where they end."""
    size = int.from_bytes(data[at : at + 2])
    end = at + 2 + size
    if end > len(data):
        raise ValueError("it is truncated")
    return data[at + 2 : end], end


def _subpackets(area: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each (5.2.3.1)."""
    packets = []
    at = 0
    while at < len(area):
        size, at = area[at], at + 1
        if size == 255:
            size, at = int.from_bytes(area[at : at + 4]), at + 4
        elif size >= 192:
            size, at = ((size - 192) << 8) + area[at] + 192, at + 1
        packets.append((area[at] & 0x7F, area[at + 1 : at + size]))
        at += max(size, 1)
    return packets


def _bits(number: bytes) -> int:
    return int.from_bytes(number).bit_length()


def _tag(first: int) -> int:
    if not first & 0x80:
        return 0
    return first & 0x3F if first & 0x40 else (first & 0x3C) >> 2
