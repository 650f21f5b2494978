"""Keys of Secure Boot in a PKCS #11 token: SoftHSM, reached by pkcs11-tool of OpenSC."""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.errors import HostError, SigningKeyError
from edgeimg.trust import authenticode, openssl, pkcs11, rotation, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory, of_variable
from edgeimg.trust.pkcs11 import Token

from tests import pe_files

MODULE = next(
    (path for place in ("/usr/lib/softhsm", "/usr/lib64/pkcs11")
     if (path := Path(place, "libsofthsm2.so")).exists()),
    None,
)  # fmt: skip
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
    pytest.mark.skipif(not shutil.which("pkcs11-tool"), reason="no opensc: apt install opensc"),
    pytest.mark.skipif(
        not (MODULE and shutil.which("softhsm2-util")), reason="no softhsm2: apt install softhsm2"
    ),
]
EPOCH = 1767225600
PIN = "48151623"
PROGRAM = pe_files.program(b"code" * 100, b"data")
NUMBERS = itertools.count()


def no_terminal(question: str) -> str:
    raise AssertionError(question)


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SoftHSM of its own; the variable that its module reads is that of this process."""
    place = tmp_path_factory.mktemp("hsm")
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place / 'tokens'}\n")
    (place / "pin").write_text(f"{PIN}\n")
    (place / "pin").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(place / "softhsm2.conf"))
        yield place


def new_token(hsm: Path) -> str:
    """The URI of a new, empty token."""
    label = f"boot {next(NUMBERS)}"
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678",
         "--pin", PIN], check=True, capture_output=True,
    )  # fmt: skip
    path = label.replace(" ", "%20")
    return f"pkcs11:token={path}?module-path={MODULE}&pin-source={hsm / 'pin'}"


def token(uri: str) -> Token:
    return pkcs11.parse(uri, no_terminal)


@pytest.fixture(scope="module")
def maker(hsm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The URI of a token with the three keys, and the directory of what is public."""
    uri, public = new_token(hsm), tmp_path_factory.mktemp("maker") / "public"
    secure_boot.generate(token(uri), public, name="Exämple Ltd", epoch=EPOCH)
    return uri, public


def edgeimg(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()"]
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_keys_of_a_token_sign_as_those_of_a_directory(
    maker: tuple[str, Path], tmp_path: Path
) -> None:
    uri, public = maker
    assert sorted(secure_boot.variables(public)) == ["KEK.auth", "PK.auth", "db.auth"]
    for name in ("PK", "KEK", "db"):
        file = public / f"{name}.pem"
        checked = subprocess.run(
            ["openssl", "verify", "-check_ss_sig", "-CAfile", file, file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr
        subject = subprocess.run(
            ["openssl", "x509", "-in", file, "-noout", "-subject", "-nameopt", "utf8"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert subject == f"subject=CN=Exämple Ltd {name}\n"
    signer = secure_boot.signer(token(uri), public)
    signed = authenticode.sign(PROGRAM, signer.certificate, signer.sign)
    authenticode.verify(signed, [secure_boot.certificate(public)])
    assert signed == authenticode.sign(PROGRAM, signer.certificate, signer.sign)
    # The same certificate needs the same key, wherever it is.
    home = KeyDirectory(tmp_path / "private")
    secure_boot.generate(home, tmp_path / "other", name="Exämple Ltd", epoch=EPOCH)
    with pytest.raises(SigningKeyError, match="is not the key of the certificate"):
        secure_boot.signer(token(uri), tmp_path / "other")
    with pytest.raises(SigningKeyError, match="is not the key of the certificate"):
        secure_boot.signer(home, public)


def test_an_interrupted_genkey_goes_on_with_the_keys_of_the_token(
    hsm: Path, tmp_path: Path
) -> None:
    uri = new_token(hsm)
    token(uri).make("PK")
    before = token(uri).public("PK")
    secure_boot.generate(token(uri), tmp_path / "public", name="Example", epoch=EPOCH)
    assert token(uri).public("PK") == before
    assert openssl.public_key_of_certificate((tmp_path / "public/PK.pem").read_bytes()) == before


def test_db_is_rotated_and_a_program_revoked_by_a_token(
    maker: tuple[str, Path], tmp_path: Path
) -> None:
    uri, public = maker
    new = tmp_path / "new"
    rotated = rotation.rotate(token(uri), public, new, name="Example 2", epoch=EPOCH + 1)
    assert rotated.key == "db-2"
    assert token(uri).names("db") == ("db", "db-2")
    for place, name in ((public, "db"), (new, "db-2")):
        wanted = openssl.public_key_of_certificate((place / "db.pem").read_bytes())
        assert token(uri).public(name) == wanted
        signer = secure_boot.signer(token(uri), place)
        signed = authenticode.sign(PROGRAM, signer.certificate, signer.sign)
        authenticode.verify(signed, [signer.certificate])
    rotation.revoke(token(uri), new, [rotation.digest(PROGRAM)], epoch=EPOCH + 2)
    assert secure_boot.revoked(new) == (rotation.digest(PROGRAM),)


def test_genkey_and_revoke_take_the_uri_of_a_token(hsm: Path, tmp_path: Path) -> None:
    uri, project = new_token(hsm), tmp_path
    (project / "recipes").mkdir()
    (project / "recipes/gateway.toml").write_text(
        'include = ["edgeimg:gateway"]\n[trust]\nsecure_boot = "keys/secure-boot"\n'
    )
    made = edgeimg("genkey", "--secure-boot", uri, "--name", "Example", cwd=project)
    assert made.returncode == 0, made.stderr
    assert PIN not in made.stdout + made.stderr
    assert "edgeimg cannot copy keys out of " in made.stdout
    assert "Keep a backup" not in made.stdout
    (project / "old.efi").write_bytes(PROGRAM)
    done = edgeimg("revoke", "old.efi", "--secure-boot-key", uri, cwd=project)
    assert done.returncode == 0, done.stderr
    assert len(secure_boot.revoked(project / "keys/secure-boot")) == 1
    unasked = uri.partition("&")[0]
    refused = edgeimg("revoke", "old.efi", "--secure-boot-key", unasked, cwd=project)
    assert refused.returncode == SigningKeyError.exit_code
    assert "pin-source=FILE" in refused.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("token=boot", "token=root"), "there is no token of this label"),
        (("module-path=/", "module-path=/nowhere/"), "there is no PKCS #11 module"),
        (("token=", "object=x;token="), "'object=x' is not understood"),
        (("?", ";token=y?"), "'token=y' is not understood"),
        (("pin-source=", "pin-value="), "shows the PIN to everybody"),
        (("token=", "token=%0a"), "control characters"),
        ((f"?module-path={MODULE}&", "?"), "has to name token and module-path"),
        (("/pin", "/no-pin"), "there is no passphrase file"),
    ],
)
def test_a_uri_that_names_no_token_is_refused(
    maker: tuple[str, Path], change: tuple[str, str], message: str
) -> None:
    uri, public = maker
    assert secure_boot.signer(token(uri), public)
    with pytest.raises(SigningKeyError, match=message):
        secure_boot.signer(token(uri.replace(*change)), public)


def test_a_wrong_pin_and_one_that_others_read_are_refused(
    hsm: Path, maker: tuple[str, Path], tmp_path: Path
) -> None:
    uri, public = maker
    with pytest.raises(SigningKeyError, match="the PIN is wrong"):
        secure_boot.signer(replace(token(uri), pin="999999"), public)
    copy = tmp_path / "pin"
    copy.write_text(PIN)
    copy.chmod(0o644)
    with pytest.raises(SigningKeyError, match="other users can read"):
        token(uri.replace(str(hsm / "pin"), str(copy)))
    copy.chmod(0o600)
    assert token(uri.replace(str(hsm / "pin"), str(copy))).names("PK") == ("PK",)
    for text in ("", "1\n2\n", "1" * 300):
        copy.write_text(text)
        with pytest.raises(SigningKeyError, match="holds no PIN"):
            token(uri.replace(str(hsm / "pin"), str(copy)))


def test_a_module_that_is_no_library_and_two_keys_of_one_label_are_refused(
    hsm: Path, tmp_path: Path
) -> None:
    uri = new_token(hsm)
    (tmp_path / "module.so").write_text("text")
    with pytest.raises(SigningKeyError, match="its module cannot be loaded"):
        replace(token(uri), module=tmp_path / "module.so").check()
    token(uri).make("db")
    assert token(uri).names("db") == ("db",)
    token(uri).make("db")
    with pytest.raises(SigningKeyError, match="two keys with the label 'db'"):
        token(uri).names("db")


def test_a_signature_by_another_key_is_noticed(
    hsm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a token that does not do what its tool says."""
    uri = new_token(hsm)
    for name in ("db", "KEK"):
        token(uri).make(name)
    assert token(uri).sign("db", b"document")
    objects = Token._objects
    other = functools.partial(objects, token(uri), "privkey")

    def swapped(self: Token, kind: str, *, login: bool = True) -> dict[str, str]:
        return {"db": other()["KEK"]} if kind == "privkey" else objects(self, kind, login=login)

    monkeypatch.setattr(Token, "_objects", swapped)
    with pytest.raises(SigningKeyError, match="did not sign with the key db"):
        token(uri).sign("db", b"document")


def test_a_missing_pkcs11_tool_is_named(
    maker: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, public = maker
    (tmp_path / "openssl").symlink_to(str(shutil.which("openssl")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="cannot find pkcs11-tool"):
        secure_boot.signer(token(uri), public)


def test_names_of_a_variable_are_in_the_order_of_their_making() -> None:
    names = ["db-10", "db", "db-2", "db-old", "dbx", "KEK"]
    assert of_variable(names, "db") == ("db", "db-2", "db-10")
    assert of_variable(names, "KEK") == ("KEK",)
    assert of_variable(names, "PK") == ()
