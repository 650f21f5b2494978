"""A new key of db and a list of revoked UKIs: their bytes, read by openssl, and their use."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from edgeimg.errors import ImageError, RecipeError, SigningKeyError, VerifyError
from edgeimg.release import boot_check
from edgeimg.trust import authenticode, pkcs7, rotation, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory

from tests import openssl, pe_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
]

EPOCH = 1767225600
SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
SHA256 = UUID("c1c41626-504c-4092-aca9-41f936934328")
REPLACE, APPEND = 0x27, 0x67
PROGRAM = pe_files.program(b"code" * 100, b"data")
OTHER = pe_files.program(b"code" * 101, b"data")


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory: keys in `private`, certificates in `old`, with a new key of db in `new`."""
    place = tmp_path_factory.mktemp("maker")
    home = place / "private"
    secure_boot.generate(KeyDirectory(home), place / "old", name="Example Ltd", epoch=EPOCH)
    rotation.rotate(
        KeyDirectory(home), place / "old", place / "new", name="Example Ltd 2", epoch=EPOCH + 1
    )
    return place


@pytest.fixture
def maker(rotated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(rotated, tmp_path / "maker"))


def accepts(file: Path, name: str, attributes: int, certificate: Path, place: Path) -> bool:
    """Whether openssl takes the signature of a variable for `attributes` (UEFI 2.10, 8.2.2)."""
    data = file.read_bytes()
    (length,) = struct.unpack_from("<I", data, 16)
    content = data[16 + length :]
    signed = name.encode("utf-16-le") + SECURITY.bytes_le
    content = signed + struct.pack("<I", attributes) + data[:16] + content
    # openssl reads PKCS #7 in its envelope, which variables leave out.
    kind = pkcs7.der(6, bytes.fromhex("2a864886f70d010702"))
    whole = pkcs7.der(0x30, kind, pkcs7.der(0xA0, data[40 : 16 + length]))
    return openssl.accepts(whole, content, certificate, place)


def entries(file: Path) -> tuple[UUID, list[bytes]]:
    """The type and the entries of the only EFI_SIGNATURE_LIST in a variable."""
    data = file.read_bytes()
    content = data[16 + struct.unpack_from("<I", data, 16)[0] :]
    length, header, size = struct.unpack_from("<III", content, 16)
    assert (length, header, (length - 28) % size) == (len(content), 0, 0)
    places = range(28, length, size)
    return UUID(bytes_le=content[:16]), [content[at + 16 : at + size] for at in places]


def run(*arguments: str | Path, cwd: Path, epoch: int = EPOCH) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()"]
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )  # fmt: skip


def test_a_new_key_of_db_is_signed_by_the_old_kek(maker: Path, tmp_path: Path) -> None:
    old, new = maker / "old", maker / "new"
    assert {path.name: path.read_bytes() for path in new.glob("*K*")} == {
        path.name: path.read_bytes() for path in old.glob("*K*")
    }
    kek = old / "KEK.pem"
    certificate = secure_boot.certificate(new)
    assert certificate != secure_boot.certificate(old)
    for name, attributes in (("db.auth", REPLACE), ("db-append.auth", APPEND)):
        assert entries(new / name) == (X509, [certificate.data])
        assert accepts(new / name, "db", attributes, kek, tmp_path)
        assert not accepts(new / name, "db", attributes ^ 0x40, kek, tmp_path)
        assert not accepts(new / name, "db", attributes, old / "PK.pem", tmp_path)
    assert sorted(secure_boot.variables(new)) == ["KEK.auth", "PK.auth", "db.auth"]
    # The recipe says which key signs.
    for public in (old, new):
        signer = secure_boot.signer(KeyDirectory(maker / "private"), public)
        assert signer.certificate == secure_boot.certificate(public)
        signed = authenticode.sign(PROGRAM, signer.certificate, signer.sign)
        assert boot_check.trusted(public).problem(signed) == ""
        other = boot_check.trusted(old if public == new else new)
        assert other.problem(signed) == "its signature is for other bytes, or by another key"
    (new / "db-append.auth").write_bytes((new / "db.auth").read_bytes())
    with pytest.raises(VerifyError, match=r"db-append\.auth"):
        secure_boot.variables(new)


def test_a_key_is_not_rotated_when_firmware_would_refuse_it(maker: Path, tmp_path: Path) -> None:
    home, old, new = maker / "private", maker / "old", tmp_path / "new"

    def rotate(epoch: int = EPOCH + 1) -> None:
        rotation.rotate(KeyDirectory(home), old, new, name="Example Ltd 3", epoch=epoch)

    with pytest.raises(SigningKeyError, match="not later"):
        rotate(EPOCH)
    auth, key = (old / "db.auth").read_bytes(), (home / "KEK.key").read_bytes()
    (old / "db.auth").write_bytes(auth[:-1] + b"\0")
    with pytest.raises(SigningKeyError, match=r"db\.auth"):
        rotate()
    (old / "db.auth").write_bytes(auth)
    (home / "KEK.key").write_bytes((home / "PK.key").read_bytes())
    with pytest.raises(SigningKeyError, match=r"KEK in .* is not the key"):
        rotate()
    (home / "KEK.key").write_bytes(key)
    assert not new.exists()
    assert sorted(path.name for path in home.glob("db*")) == ["db-2.key", "db.key"]
    rotate()
    assert secure_boot.variables(new)
    with pytest.raises(SigningKeyError, match="exists already"):
        rotate()


def test_revoked_ukis_are_a_list_that_the_kek_signs(maker: Path, tmp_path: Path) -> None:
    home, public = maker / "private", maker / "old"
    assert secure_boot.revoked(public) == ()
    signer = secure_boot.signer(KeyDirectory(home), public)
    signed = [
        authenticode.sign(program, signer.certificate, signer.sign) for program in (PROGRAM, OTHER)
    ]
    digests = [rotation.digest(program) for program in signed]
    assert digests == [rotation.digest(PROGRAM), authenticode.digest(OTHER)]
    firmware = boot_check.trusted(public)
    assert [firmware.problem(program) for program in signed] == ["", ""]
    assert rotation.revoke(KeyDirectory(home), public, digests[:1], epoch=EPOCH).total == 1
    assert entries(public / "dbx.auth") == (SHA256, digests[:1])
    assert accepts(public / "dbx.auth", "dbx", APPEND, public / "KEK.pem", tmp_path)
    assert not accepts(public / "dbx.auth", "dbx", REPLACE, public / "KEK.pem", tmp_path)
    firmware = boot_check.trusted(public)
    assert [firmware.problem(program) for program in signed] == ["it is revoked by dbx.auth", ""]
    again = rotation.revoke(KeyDirectory(home), public, [*digests, digests[1]], epoch=EPOCH)
    assert (again.added, again.total) == ((digests[1],), 2)
    assert entries(public / "dbx.auth") == (SHA256, digests)
    assert sorted(secure_boot.variables(public)) == ["KEK.auth", "PK.auth", "db.auth", "dbx.auth"]
    # A list goes over to the next key of db.
    third = tmp_path / "third"
    rotation.rotate(KeyDirectory(home), public, third, name="Example Ltd 3", epoch=EPOCH + 2)
    assert secure_boot.revoked(third) == tuple(digests)
    mine = (public / "dbx.auth").read_bytes()
    for place in (0, 20, 60, len(mine) - 1, len(mine) - 40, len(mine) - 80):
        changed = bytearray(mine)
        changed[place] ^= 1
        (public / "dbx.auth").write_bytes(changed)
        with pytest.raises(VerifyError, match=r"dbx\.auth"):
            secure_boot.revoked(public)
    (public / "dbx.auth").write_bytes(mine)
    assert secure_boot.revoked(public) == tuple(digests)


def test_a_list_has_an_end(maker: Path) -> None:
    many = [number.to_bytes(32) for number in range(1400)]
    with pytest.raises(SigningKeyError, match="larger than"):
        rotation.revoke(KeyDirectory(maker / "private"), maker / "old", many, epoch=EPOCH)
    assert not (maker / "old/dbx.auth").exists()
    rotation.revoke(KeyDirectory(maker / "private"), maker / "old", many[:1200], epoch=EPOCH)
    assert secure_boot.revoked(maker / "old") == tuple(many[:1200])


def test_the_commands(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "keys"
    (project / "recipes").mkdir(parents=True)
    recipe = project / "recipes/gateway.toml"
    text = 'include = ["edgeimg:gateway"]\n'
    recipe.write_text(text)
    made = run("genkey", "--name", "Example", "--secure-boot", home, cwd=project, epoch=EPOCH)
    assert made.returncode == 0, made.stderr
    rotate = (
        "genkey", "--name", "Example 2", "--secure-boot", home, "--rotate", "keys/secure-boot",
    )  # fmt: skip
    assert run(*rotate, cwd=project).returncode == 2
    rotate = (*rotate, "--export", "keys/secure-boot-2", "--json")
    early = run(*rotate, cwd=project, epoch=EPOCH)
    assert early.returncode == SigningKeyError.exit_code, early.stderr
    done = run(*rotate, cwd=project, epoch=EPOCH + 1)
    assert done.returncode == 0, done.stderr
    certificate = secure_boot.certificate(project / "keys/secure-boot-2")
    assert json.loads(done.stdout)["fingerprints"] == {"db": certificate.fingerprint}
    release = project / "out/release/1.4.2"
    release.mkdir(parents=True)
    revoke = ("revoke", "1.4.2", "--secure-boot-key", home, "--json")
    refused = run(*revoke, cwd=project)
    assert refused.returncode == RecipeError.exit_code, refused.stderr
    recipe.write_text(f'{text}\n[trust]\nsecure_boot = "keys/secure-boot"\n')
    refused = run(*revoke, cwd=project)
    assert refused.returncode == VerifyError.exit_code, refused.stderr
    (release / "gateway_1.4.2_x86-64.efi").write_bytes(PROGRAM[:100])
    refused = run(*revoke, cwd=project)
    assert refused.returncode == ImageError.exit_code, refused.stderr
    assert not (project / "keys/secure-boot/dbx.auth").exists()
    (release / "gateway_1.4.2_x86-64.efi").write_bytes(PROGRAM)
    done = run(*revoke, cwd=project)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [entry["sha256"] for entry in answer["revoked"]] == [authenticode.digest(PROGRAM).hex()]
    assert secure_boot.revoked(project / "keys/secure-boot") == (authenticode.digest(PROGRAM),)
