"""Keys, variables and signatures of Secure Boot, made by edgeimg and read by openssl and pefile."""

from __future__ import annotations

import json
import shutil
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pefile
import pytest
from edgeimg.errors import SigningKeyError, VerifyError
from edgeimg.trust import authenticode, pkcs7, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory
from edgeimg.trust.secure_boot import VARIABLES, BootSigner

from tests import openssl, pe_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
]

EPOCH = 1767225600
PROGRAM = pe_files.program(b"code" * 100, b"data")


@dataclass(frozen=True)
class Maker:
    home: Path
    public: Path

    @property
    def signer(self) -> BootSigner:
        return secure_boot.signer(KeyDirectory(self.home), self.public)


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Maker, Maker]:
    """Two makers of the same name."""
    found = []
    for name in ("one", "two"):
        place = tmp_path_factory.mktemp(name)
        maker = Maker(place / "private", place / "public")
        secure_boot.generate(
            KeyDirectory(maker.home), maker.public, name="Example Ltd", epoch=EPOCH
        )
        found.append(maker)
    return found[0], found[1]


@pytest.fixture
def maker(makers: tuple[Maker, Maker]) -> Maker:
    return makers[0]


def genkey(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "genkey"]
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_genkey_keeps_private_keys_from_others_and_out_of_the_project(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "keys"
    (project / ".git").mkdir(parents=True)
    refused = genkey("--name", "Example", "--secure-boot", "private", cwd=project)
    assert refused.returncode == SigningKeyError.exit_code
    assert not (project / "private").exists()
    done = genkey("--name", "Example", "--secure-boot", home, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    private = sorted(home.iterdir())
    assert [path.name for path in private] == ["KEK.key", "PK.key", "db.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    public = project / "keys/secure-boot"
    assert sorted(path.name for path in public.iterdir()) == [
        "KEK.auth", "KEK.pem", "PK.auth", "PK.pem", "db.auth", "db.pem"
    ]  # fmt: skip
    assert not any(b"PRIVATE" in path.read_bytes() for path in public.iterdir())
    certificate = secure_boot.certificate(public)
    assert json.loads(done.stdout)["fingerprints"]["db"] == certificate.fingerprint
    again = genkey("--name", "Example", "--secure-boot", home, cwd=project)
    assert again.returncode == SigningKeyError.exit_code
    assert secure_boot.certificate(public) == certificate


def test_variables_hold_the_certificates_and_are_signed_by_the_key_above(
    maker: Maker, tmp_path: Path
) -> None:
    for variable in VARIABLES:
        data = (maker.public / f"{variable.name}.auth").read_bytes()
        year, month, day = struct.unpack_from("<HBB", data)
        assert (year, month, day) == (2026, 1, 1)
        length, revision, kind = struct.unpack_from("<IHH", data, 16)
        assert (revision, kind) == (0x0200, 0x0EF1)
        assert UUID(bytes_le=data[24:40]) == UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
        message, signatures = data[40 : 16 + length], data[16 + length :]
        certificate = pkcs7.certificate((maker.public / f"{variable.name}.pem").read_bytes())
        assert UUID(bytes_le=signatures[:16]) == UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
        assert struct.unpack_from("<III", signatures, 16) == (
            len(signatures), 0, 16 + len(certificate.data)
        )  # fmt: skip
        assert signatures[44:] == certificate.data
        signed = variable.name.encode("utf-16-le") + variable.vendor.bytes_le
        signed += struct.pack("<I", 0x27) + data[:16] + signatures
        # openssl reads PKCS #7 in its envelope, which variables leave out.
        whole = pkcs7.der(
            0x30, pkcs7.der(6, bytes.fromhex("2a864886f70d010702")), pkcs7.der(0xA0, message)
        )
        above = maker.public / f"{variable.signer}.pem"
        assert openssl.accepts(whole, signed, above, tmp_path)
        assert not openssl.accepts(whole, signed + b"\0", above, tmp_path)


def test_a_signed_program_is_one_for_pefile_and_openssl(maker: Maker, tmp_path: Path) -> None:
    signer = maker.signer
    signed = authenticode.sign(PROGRAM, signer.certificate, signer.sign)
    assert signed == authenticode.sign(PROGRAM, signer.certificate, signer.sign)
    assert authenticode.verify(signed, [signer.certificate]) == signer.certificate
    with pefile.PE(data=signed, fast_load=True) as pe:
        entry = pe.OPTIONAL_HEADER.DATA_DIRECTORY[4]
        place, size = entry.VirtualAddress, entry.Size
    assert place + size == len(signed)
    length, revision, kind = struct.unpack_from("<IHH", signed, place)
    assert (length, revision, kind) == (size, 0x0200, 0x0002)
    digest = authenticode.digest(PROGRAM)
    message = signed[place + 8 :]
    content = message[message.index(b"\x30\x17\x06\x0a") : message.index(digest) + 32]
    certificate = maker.public / "db.pem"
    assert openssl.accepts(message, content, certificate, tmp_path)
    assert not openssl.accepts(message, content[:-1] + b"\0", certificate, tmp_path)


def test_every_changed_byte_is_refused(maker: Maker) -> None:
    """The bytes of the table, of the header, and some of each section."""
    signer = maker.signer
    signed = authenticode.sign(PROGRAM, signer.certificate, signer.sign)
    table = len(PROGRAM)
    places = [*range(0, table, 61), *range(pe_files.CHECKSUM, pe_files.CHECKSUM + 4)]
    places += [*range(pe_files.DIRECTORY, pe_files.DIRECTORY + 8), *range(table, len(signed), 31)]
    # What follows the signature, and its last byte, which openssl has to judge.
    places += range(len(signed) - 16, len(signed))
    for place in places:
        changed = bytearray(signed)
        changed[place] ^= 1
        with pytest.raises(VerifyError):
            authenticode.verify(bytes(changed), [signer.certificate])
    assert authenticode.verify(signed, [signer.certificate]) == signer.certificate


def test_the_key_of_another_maker_is_refused(makers: tuple[Maker, Maker]) -> None:
    mine, other = (maker.signer for maker in makers)
    signed = authenticode.sign(PROGRAM, other.certificate, other.sign)
    with pytest.raises(VerifyError):
        authenticode.verify(signed, [mine.certificate])
    disguised = authenticode.sign(PROGRAM, mine.certificate, other.sign)
    with pytest.raises(VerifyError):
        authenticode.verify(disguised, [mine.certificate])
    both = [mine.certificate, other.certificate]
    assert authenticode.verify(signed, both) == other.certificate


def test_a_key_that_is_exposed_or_of_another_certificate_is_not_used(
    makers: tuple[Maker, Maker],
) -> None:
    mine, other = makers
    with pytest.raises(SigningKeyError, match="not the key"):
        secure_boot.signer(KeyDirectory(mine.home), other.public)
    key = mine.home / "db.key"
    key.chmod(0o644)
    with pytest.raises(SigningKeyError, match="other users"):
        _ = mine.signer
    key.chmod(0o600)
    assert mine.signer.certificate == secure_boot.certificate(mine.public)
