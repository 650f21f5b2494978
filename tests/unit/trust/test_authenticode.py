"""What of an EFI program is hashed, and which programs cannot be signed."""

from __future__ import annotations

from hashlib import sha256

import pytest
from edgeimg.errors import ImageError, VerifyError
from edgeimg.trust import authenticode, pkcs7

from tests import pe_files

PROGRAM = pe_files.program(b"code" * 200, b"data")


def test_all_but_checksum_and_table_entry_is_hashed() -> None:
    hashed = PROGRAM[: pe_files.CHECKSUM]
    hashed += PROGRAM[pe_files.CHECKSUM + 4 : pe_files.DIRECTORY]
    hashed += PROGRAM[pe_files.DIRECTORY + 8 :]
    assert authenticode.digest(PROGRAM) == sha256(hashed).digest()
    assert not authenticode.is_signed(PROGRAM)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ",
        PROGRAM[:0x80],
        b"ZM" + PROGRAM[2:],
        PROGRAM.replace(b"PE\0\0", b"PE\0\1"),
        PROGRAM[:-512],
        PROGRAM[:0x46] + b"\xff\xff" + PROGRAM[0x48:],
        pe_files.program(b"code", gap=512),
        pe_files.program(b"code", directories=4),
        pe_files.program(b"code", behind=bytes(8)),
        PROGRAM[: pe_files.CHECKSUM] + b"\x01" + PROGRAM[pe_files.CHECKSUM + 1 :],
        PROGRAM[: pe_files.DIRECTORY] + b"\x08" + PROGRAM[pe_files.DIRECTORY + 1 :],
    ],
)
def test_other_files_are_not_signed(data: bytes) -> None:
    with pytest.raises(ImageError):
        authenticode.unsigned(data)
    assert authenticode.unsigned(PROGRAM) == PROGRAM


def test_a_table_is_at_the_end_and_comes_off_again() -> None:
    table = bytes(range(64))
    signed = authenticode.attach(PROGRAM, table)
    assert authenticode.is_signed(signed)
    assert authenticode.split(signed) == (PROGRAM, table)
    assert signed.endswith(table)


@pytest.mark.parametrize("behind", [b"\0", bytes(8)])
def test_nothing_follows_a_table(behind: bytes) -> None:
    with pytest.raises(VerifyError):
        authenticode.split(authenticode.attach(PROGRAM, bytes(64)) + behind)


def test_a_program_without_a_table_is_not_signed() -> None:
    with pytest.raises(VerifyError, match="not signed"):
        authenticode.verify(PROGRAM, [])


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_are_in_the_shortest_form(size: int) -> None:
    element = pkcs7.der(pkcs7.OCTETS, bytes(size))
    short = size < 128
    count = 0 if short else (size.bit_length() + 7) // 8
    assert element[1] == (size if short else 0x80 | count)
    assert len(element) == 2 + count + size


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIQ=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"\n" * (pkcs7.MAX_BYTES + 1),
    ],
)
def test_other_texts_are_no_certificate(text: bytes) -> None:
    with pytest.raises(VerifyError):
        pkcs7.certificate(text)
