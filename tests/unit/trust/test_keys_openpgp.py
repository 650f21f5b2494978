"""The one form of a signature that is accepted: each byte of it is either signed or fixed.

The samples were made with GnuPG 2.2.40 and keys of which only the public part was kept.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from edgeimg.trust import openpgp

DOCUMENT = b"x\n"
SIGNATURE = bytes.fromhex(
    "88750400160a001d162104a5bbe5b5f78e50ae553725f247e4be9d307cacd705026b04dafa000a091047e4be9d30"
    "7cacd74b5f0100b46a0af1876b94f4f1845f70958bae1482861a496e1f38335e23d8c0a94a41430100c99588fade"
    "e7fa0b2d23f7ad700bc37578341a85e308e2b01971d1fbb2a0dc0f"
)
FINGERPRINT = bytes.fromhex("a5bbe5b5f78e50ae553725f247e4be9d307cacd7")
PUBLIC = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawTa+hYJKwYBBAHaRw8BAQdACnlQ9KwfodMh9oOO8wZ+CmyP9JFYXbYKYK9Q
uTiIB9+0G0dhdGV3YXkgUmVsIDxyQGV4YW1wbGUub3JnPoiQBBMWCAA4FiEEpbvl
tfeOUK5VNyXyR+S+nTB8rNcFAmsE2voCGwMFCwkIBwIGFQoJCAsCBBYCAwECHgEC
F4AACgkQR+S+nTB8rNctmgD/ey9tSC9HmLqkZK71eY2QjCzH3+6vFBlVpP7jny8Y
/KYA/1CC3rM8wa6oem/j3gli4+1SSeQ72fR5zLtkBylIaBUO
=qT/i
-----END PGP PUBLIC KEY BLOCK-----
"""
SIGNED = range(2, 37)
"""From the version to the end of the hashed subpackets; and the two numbers, with their sizes."""
NUMBERS = (range(53, 85), range(87, 119))


def test_the_form_of_gpg_is_accepted() -> None:
    found = openpgp.signature(SIGNATURE, DOCUMENT)
    assert found.issuer == FINGERPRINT
    assert found.encode() == SIGNATURE
    assert [len(number) for number in found.numbers] == [32, 32]


def test_every_byte_that_is_not_signed_is_fixed() -> None:
    """What the form leaves open, gpgv judges: signed bytes, and the numbers themselves."""
    accepted = set()
    for at in range(len(SIGNATURE)):
        for value in range(256):
            changed = bytearray(SIGNATURE)
            if changed[at] == value:
                continue
            changed[at] = value
            try:
                openpgp.signature(bytes(changed), DOCUMENT)
            except ValueError:
                continue
            accepted.add(at)
    # A change of what is signed changes the digest, of which two bytes are in the signature.
    assert accepted <= {*SIGNED, *NUMBERS[0], *NUMBERS[1]}


@pytest.mark.parametrize("size", range(len(SIGNATURE)))
def test_a_truncated_signature_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        openpgp.signature(SIGNATURE[:size], DOCUMENT)


NEW_HEADER = b"\xc2" + SIGNATURE[1:]
LONG_HEADER = b"\x89\0" + SIGNATURE[1:]
EMPTY_UNHASHED = SIGNATURE[:1] + bytes((117 - 10,)) + SIGNATURE[2:37] + b"\0\0" + SIGNATURE[49:]
MORE_UNHASHED = (
    SIGNATURE[:1] + bytes((117 + 3,)) + SIGNATURE[2:37] + b"\0\x0d" + SIGNATURE[39:49]
    + b"\x02\x64x" + SIGNATURE[49:]
)  # fmt: skip
OTHER_SIZE = SIGNATURE[:51] + b"\x01\x08\0" + SIGNATURE[53:]


@pytest.mark.parametrize(
    "data",
    [
        b"", NEW_HEADER, LONG_HEADER, EMPTY_UNHASHED, MORE_UNHASHED, OTHER_SIZE,
        SIGNATURE * 2, SIGNATURE + b"\0", SIGNATURE + b"\xb4\x00",
        b"-----BEGIN PGP SIGNATURE-----\n\n" + base64.b64encode(SIGNATURE),
    ],
    ids=["nothing", "new header", "long header", "no issuer", "more unhashed", "leading zero",
         "two", "a byte more", "a packet more", "armored"],
)  # fmt: skip
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        openpgp.signature(data, DOCUMENT)


def test_another_document_is_refused() -> None:
    with pytest.raises(ValueError, match="for other bytes"):
        openpgp.signature(SIGNATURE, b"y\n")


def test_weak_digests_are_refused() -> None:
    weak = replace(openpgp.signature(SIGNATURE, DOCUMENT), hash_algorithm=2)  # SHA-1
    with pytest.raises(ValueError, match="SHA-256 or better"):
        openpgp.signature(weak.encode(), DOCUMENT)


def test_long_signatures_have_a_long_header() -> None:
    long = replace(openpgp.signature(SIGNATURE, DOCUMENT), numbers=(b"\x80" + b"x" * 511,))
    encoded = long.encode()
    assert encoded[0] == 0x89
    assert openpgp.signature(encoded, DOCUMENT) == long


def binary() -> bytes:
    body = re.split(r"\n\n|\n=", PUBLIC)[1]
    return base64.b64decode(body)


def test_public_keys_are_read_in_both_forms() -> None:
    assert openpgp.public_keys(PUBLIC.encode()) == binary()
    assert openpgp.public_keys(PUBLIC.replace("\n", "\r\n").encode()) == binary()
    assert openpgp.public_keys(binary()) == binary()
    several = f"two keys:\n{PUBLIC}\n{PUBLIC.replace('BLOCK-----', 'BLOCK-----', 1)}"
    assert openpgp.public_keys(several.encode()) == binary() * 2
    headers = PUBLIC.replace("BLOCK-----\n\n", "BLOCK-----\nComment: releases\n\n", 1)
    assert openpgp.public_keys(headers.encode()) == binary()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no OpenPGP public key"),
        (b"hello", "no OpenPGP public key"),
        (SIGNATURE, "no OpenPGP public key"),
        (PUBLIC.replace("PUBLIC", "PRIVATE").encode(), "private key block"),
        (b"\x95" + b"\0" * 40, "secret key"),
        (PUBLIC.replace("mDME", "m=ME").encode(), "."),
    ],
)
def test_anything_else_is_no_public_key(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        openpgp.public_keys(data)
