"""Distinguishes private keys from texts about them.

Programs that read keys are full of `-----BEGIN RSA PRIVATE KEY-----`, and documentation of keys
cut short. A key is what has the shape of one inside: PEM (RFC 7468), DER (RFC 5208, 5915, 8017),
OpenSSH (PROTOCOL.key), OpenPGP (RFC 9580), PKCS #12 (RFC 7292).
"""

from __future__ import annotations

import base64
import binascii
import re

LONGEST = 1 << 15
"""Bytes that a key in text takes at most (RSA of 16384 bits: some 13,000)."""

_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?)-----"
    rb"(.{40,30000}?)"
    rb"-----END \1-----",
    re.DOTALL,
)
_HEADER = re.compile(rb"^[A-Za-z-]{2,20}: .*$", re.MULTILINE)
_ENCODED = re.compile(rb"[A-Za-z0-9+/]{40,40000}={0,2}")
_OPENSSH = b"openssh-key-v1\0"
_RAW_SSH = re.compile(rb"\0\0\0[\x07-\x14](ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3})\0")
_INTEGER, _OCTETS, _SEQUENCE, _OID = 0x02, 0x04, 0x30, 0x06


def pem(window: bytes) -> str | None:
    """Kind of the key in the PEM block at the start of `window`; None for no key."""
    match = _PEM.match(window)
    if match is None:
        return None
    label, body = match[1].decode(), match[2].replace(rb"\n", b"\n").replace(rb"\r", b"")
    encrypted = "ENCRYPTED" in label or b"ENCRYPTED" in body
    text = re.sub(rb"[\s\"',\\]|^=.{4}$", b"", _HEADER.sub(b"", body), flags=re.MULTILINE)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if "PGP" in label:
        sound = len(data) > 32 and bool(data[0] & 0x80)
    elif data.startswith(_OPENSSH):
        sound = True
    else:
        sound = encrypted or der(data) is not None
    kind = label.removesuffix(" BLOCK").lower().replace("private key", "").strip().upper()
    name = f"{kind} private key" if kind and kind != "ENCRYPTED" else "private key"
    return (f"encrypted {name}" if encrypted else f"{name}") if sound else None


def encoded_pem(window: bytes) -> str | None:
    """The same for a PEM block in base64, as a kubeconfig's `client-key-data` has it."""
    match = _ENCODED.match(window)
    if match is None:
        return None
    text = match[0].rstrip(b"=")
    try:
        kind = pem(base64.b64decode(text[: len(text) // 4 * 4]) + b"-----")
    except binascii.Error:
        return None
    return f"{kind}, in base64" if kind else None


def der(data: bytes) -> str | None:
    """Kind of the private key in a DER file; None for a certificate or other content."""
    outer = _element(data, 0)
    if outer is None or outer[0] != _SEQUENCE or outer[2] != len(data):
        return None
    elements = _children(data, outer[1], outer[2])
    tags = [tag for tag, _, _ in elements]
    if tags[:1] != [_INTEGER]:
        # PKCS #8, encrypted: an algorithm, then octets.
        encrypted = tags == [_SEQUENCE, _OCTETS] and _first_tag(data, elements[0]) == _OID
        return "encrypted private key" if encrypted else None
    version = data[elements[0][1] : elements[0][2]]
    if tags[1:3] == [_SEQUENCE, _OCTETS] and version in (b"\0", b"\1"):
        return "private key"
    if len(tags) >= 9 and set(tags[:9]) == {_INTEGER} and version in (b"\0", b"\1"):
        return "RSA private key"
    if tags[1:2] == [_OCTETS] and version == b"\1":
        return "EC private key"
    if tags[1:2] == [_SEQUENCE] and version == b"\3" and _first_tag(data, elements[1]) == _OID:
        return "PKCS #12 key store"
    return None


def raw_ssh(data: bytes) -> str | None:
    """Whether a file is a host key of dropbear: SSH's binary types without text."""
    match = _RAW_SSH.match(data)
    return f"{match[1].decode()} host key" if match else None


def _children(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    elements: list[tuple[int, int, int]] = []
    while at < end and len(elements) < 16:
        element = _element(data, at)
        if element is None or element[2] > end:
            return []
        elements.append(element)
        at = element[2]
    return elements


def _first_tag(data: bytes, element: tuple[int, int, int]) -> int | None:
    first = _element(data, element[1])
    return first[0] if first else None


def _element(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Tag, start and end of the content of the DER element at `at` (X.690, 8.1)."""
    if at + 2 > len(data):
        return None
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= 4 or start + count > len(data):
            return None
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    return (tag, start, start + length) if start + length <= len(data) else None
