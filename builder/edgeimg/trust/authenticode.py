"""Signatures of EFI programs: Authenticode (Microsoft's PE format; UEFI 2.10, 32.2.4 and 32.5).

A signed program is the unsigned one with the place of its certificate table in the header, and the
table at its end. The signature covers neither of them, nor the checksum of the header. So there is
one form only in which a signed program is accepted, the one that `attach` writes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from edgeimg.errors import ImageError, ToolError, VerifyError
from edgeimg.trust import openssl, pkcs7
from edgeimg.trust.pkcs7 import BITS, OCTETS, OID, SEQUENCE, Certificate, Sign, der

MAGIC = b"MZ"
_ALIGN = 8
_SECTION = 40
_SECTIONS = 96
"""Most sections of a program, as Windows has it."""
_OPTIONAL_SIZES = {0x10B: 96, 0x20B: 112}
"""Bytes of the optional header up to its data directories, by magic: PE32 and PE32+."""
_CERTIFICATES = 4
"""Index of the directory of certificates."""
_HEAD = struct.Struct("<IHH")
_REVISION, _PKCS = 0x0200, 0x0002
_INDIRECT = bytes.fromhex("2b060104018237020104")
_PE_IMAGE = bytes.fromhex("2b06010401823702010f")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places in a PE file, in bytes from its start."""

    checksum: int
    directory: int
    """Of the entry for the certificate table: offset and size, four bytes each."""
    end: int
    """Behind the last section."""


def layout(data: bytes) -> Layout:
    """The places in an EFI program. Raises ImageError for other files.

    A file with bytes that belong to no section is refused: firmware would not hash them the same.
    """
    try:
        start = struct.unpack_from("<I", data, 0x3C)[0]
        count, size = struct.unpack_from("<H12xH", data, start + 6)
        optional = start + 24
        directories = optional + _OPTIONAL_SIZES[struct.unpack_from("<H", data, optional)[0]]
        end = struct.unpack_from("<I", data, optional + 60)[0]
        entries = struct.unpack_from("<I", data, directories - 4)[0]
        headers = [
            struct.unpack_from("<II", data, optional + size + _SECTION * number + 16)
            for number in range(min(count, _SECTIONS + 1))
        ]
    except (struct.error, KeyError):
        raise ImageError("it is no EFI program") from None
    if data[:2] != MAGIC or data[start : start + 4] != b"PE\0\0" or count > _SECTIONS:
        raise ImageError("it is no EFI program")
    directory = directories + 8 * _CERTIFICATES
    last = optional + size + _SECTION * count
    if entries <= _CERTIFICATES or directory + 8 > optional + size or last > end:
        raise ImageError("it is an EFI program without room for a signature")
    for length, place in sorted(headers, key=lambda header: header[1]):
        if length and place != end:
            raise ImageError("it is an EFI program with bytes between its sections")
        end += length
    if end > len(data):
        raise ImageError("it is a truncated EFI program")
    return Layout(checksum=optional + 64, directory=directory, end=end)


def is_signed(data: bytes) -> bool:
    """Whether an EFI program has a certificate table. Raises ImageError."""
    places = layout(data)
    return any(data[places.directory : places.directory + 8])


def digest(program: bytes) -> bytes:
    """SHA-256 of an unsigned program, as firmware computes it. Raises ImageError."""
    places = layout(program)
    view = memoryview(program)
    hashed = sha256(view[: places.checksum])
    hashed.update(view[places.checksum + 4 : places.directory])
    hashed.update(view[places.directory + 8 :])
    return hashed.digest()


def sign(program: bytes, signer: Certificate, key: Sign) -> bytes:
    """The program with the signature of `signer`, which `key` makes.

    Equal arguments give equal bytes. Raises ImageError for what is no unsigned EFI program.
    """
    content = _content(unsigned(program))
    signature = key(pkcs7.attributes(_INDIRECT, content))
    return attach(program, _table(content, signer, signature))


def growth(signer: Certificate) -> int:
    """Bytes that a signature of `signer` adds to a program."""
    return len(_table(_content_of(bytes(32)), signer, bytes(signer.bits // 8)))


def attach(program: bytes, table: bytes) -> bytes:
    """The unsigned program with the certificate table `table`. Raises ImageError."""
    program = unsigned(program)
    place = layout(program).directory
    entry = struct.pack("<II", len(program), len(table))
    return program[:place] + entry + program[place + 8 :] + table


def split(data: bytes) -> tuple[bytes, bytes]:
    """A signed program as the unsigned one and its certificate table.

    Raises VerifyError when it has no signature, or one in another form than `attach` gives it.
    """
    try:
        places = layout(data)
        offset, size = struct.unpack_from("<II", data, places.directory)
        if not size:
            raise VerifyError("it is not signed")
        program = data[: places.directory] + bytes(8) + data[places.directory + 8 : offset]
        table = data[offset:]
        if attach(program, table) != data:
            raise VerifyError("its certificate table is not in the form that edgeimg writes")
    except ImageError as error:
        raise VerifyError(error.message) from None
    return program, table


def verify(data: bytes, certificates: Sequence[Certificate]) -> Certificate:
    """Which of the certificates a program is signed by.

    Raises VerifyError unless it is signed by one of them, and every byte is as `sign` writes it.
    """
    program, table = split(data)
    content = _content(program)
    for signer in certificates:
        signature = _signature(content, signer, table)
        if signature is None:
            continue
        try:
            public = openssl.public_key_of_certificate(signer.pem)
        except ToolError as error:
            raise VerifyError(f"openssl cannot read the certificate: {error.message}") from error
        if openssl.verify(pkcs7.attributes(_INDIRECT, content), signature, public):
            return signer
    raise VerifyError("its signature is for other bytes, or by another key")


def unsigned(program: bytes) -> bytes:
    """The program itself, if it can be signed. Raises ImageError.

    UEFI looks at no checksum, and the signature does not cover it: it stays zero.
    """
    places = layout(program)
    if any(program[places.directory : places.directory + 8]):
        raise ImageError("it is signed already")
    if any(program[places.checksum : places.checksum + 4]):
        raise ImageError("it is an EFI program with a checksum")
    if len(program) != places.end or len(program) % _ALIGN:
        raise ImageError("it is an EFI program with bytes behind its sections")
    return program


def _content(program: bytes) -> bytes:
    """The body of SpcIndirectDataContent: what is signed, and its digest."""
    return _content_of(digest(unsigned(program)))


def _content_of(digest: bytes) -> bytes:
    data = der(SEQUENCE, der(BITS, b"\0"), der(0xA0, der(0xA2, der(0x80))))
    return der(SEQUENCE, der(OID, _PE_IMAGE), data) + der(
        SEQUENCE, pkcs7.SHA256, der(OCTETS, digest)
    )


def _table(content: bytes, signer: Certificate, signature: bytes) -> bytes:
    """A certificate table with one WIN_CERTIFICATE of PKCS #7."""
    message = pkcs7.attached(_INDIRECT, content, signer, signature)
    message += bytes(-(_HEAD.size + len(message)) % _ALIGN)
    return _HEAD.pack(_HEAD.size + len(message), _REVISION, _PKCS) + message


def _signature(content: bytes, signer: Certificate, table: bytes) -> bytes | None:
    """The signature in a table that is like one of `signer` in all other bytes."""
    size = signer.bits // 8
    message = pkcs7.attached(_INDIRECT, content, signer, bytes(size))
    end = _HEAD.size + len(message)
    signature = table[end - size : end]
    return signature if _table(content, signer, signature) == table else None
