"""Things shaped like secrets, made here: no real one is in this repository."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess


def noise(name: str, size: int) -> bytes:
    """Bytes that look random, the same for the same name."""
    return hashlib.shake_128(name.encode()).digest(size)


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    body = b"".join(parts)
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    count = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | count)) + length.to_bytes(count, "big") + body


def integer(value: bytes) -> bytes:
    return der(2, value)


def rsa(bits: int = 2048) -> bytes:
    """PKCS #1: version 0 and eight numbers."""
    size = bits // 8
    numbers = [
        b"\0" + noise(f"{bits} {at}", size if at in (0, 2) else size // 2) for at in range(8)
    ]
    return der(0x30, integer(b"\0"), *map(integer, numbers))


def pkcs8() -> bytes:
    """Ed25519 (RFC 8410)."""
    algorithm = der(0x30, der(6, bytes.fromhex("2b6570")))
    return der(0x30, integer(b"\0"), algorithm, der(4, der(4, noise("ed25519", 32))))


def ec() -> bytes:
    """RFC 5915."""
    curve = der(0xA0, der(6, bytes.fromhex("2a8648ce3d030107")))
    return der(0x30, integer(b"\1"), der(4, noise("ec", 32)), curve)


def encrypted_pkcs8() -> bytes:
    algorithm = der(0x30, der(6, bytes.fromhex("2a864886f70d01050d")))
    return der(0x30, algorithm, der(4, noise("encrypted", 128)))


def pkcs12() -> bytes:
    content = der(0x30, der(6, bytes.fromhex("2a864886f70d010701")), der(0xA0, der(4, b"x" * 64)))
    return der(0x30, integer(b"\3"), content)


def certificate() -> bytes:
    """The outline of an X.509 certificate: a sequence, an algorithm, a signature."""
    inner = der(0x30, der(0xA0, integer(b"\2")), integer(b"\1"), der(0x30), der(0x30))
    return der(0x30, inner, der(0x30, der(6, b"\x2a")), der(3, b"\0" + noise("signature", 64)))


def openssh() -> bytes:
    """PROTOCOL.key."""
    return b"openssh-key-v1\0" + noise("openssh", 200)


def pem(data: bytes, label: str = "PRIVATE KEY", *, headers: str = "") -> bytes:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    body = "\n".join(lines)
    return f"-----BEGIN {label}-----\n{headers}{body}\n-----END {label}-----\n".encode()


def base64_text(name: str, size: int) -> str:
    """`size` characters of crypt's alphabet."""
    alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(alphabet[byte & 63] for byte in noise(name, size))


def sha512crypt() -> str:
    return f"$6${base64_text('salt', 16)}${base64_text('hash', 86)}"


def k3s_token() -> str:
    return f"K10{noise('ca', 32).hex()}::server:{noise('password', 16).hex()}"


def web_token(header: object = None) -> str:
    parts = [header or {"alg": "RS256", "typ": "JWT"}, {"iss": "kubernetes/serviceaccount"}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    signature = base64.urlsafe_b64encode(noise("signature", 64))
    return b".".join(part.rstrip(b"=") for part in [*encoded, signature]).decode()


def aws_key() -> str:
    return "AKIA" + base64.b32encode(noise("aws", 10)).decode()


def wireguard_public(private: bytes) -> str:
    """By OpenSSL: PKCS #8 around 32 bytes (RFC 8410), and the end of SubjectPublicKeyInfo."""
    wrapped = bytes.fromhex("302e020100300506032b656e04220420") + private
    done = subprocess.run(
        ["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"],
        input=wrapped, capture_output=True, check=True,
    )  # fmt: skip
    return base64.b64encode(done.stdout[-32:]).decode()
