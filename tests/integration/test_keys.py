"""Keys made, found and used by the real gpg: safe ones sign, others are refused, none hangs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.errors import SigningKeyError, VerifyError
from edgeimg.trust import keys, signatures
from edgeimg.trust.keys import Key, NewKey

from tests.integration.signing import gpg, gpg_home, make_key

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
]

SUMS = b"0" * 64 + b"  file\n"
PAST = "20240101T000000"


@pytest.fixture
def home() -> Iterator[Path]:
    with gpg_home() as path:
        yield path


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "SHA256SUMS"
    path.write_bytes(SUMS)
    return path


def public(key: Key, directory: Path) -> Path:
    path = directory / f"{key.fingerprint}.asc"
    path.write_bytes(keys.export(key))
    return path


def genkey(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "genkey"]
    given = ["--name", "Releases", "--email", "releases@example.org", *map(str, arguments)]
    return subprocess.run(
        [*program, *given], cwd=cwd, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".asc", ".gpg"])
def test_genkey_makes_a_key_that_signs_what_gpg_and_gpgv_accept(
    home: Path, sums: Path, tmp_path: Path, suffix: str
) -> None:
    exported = tmp_path / f"keys/releases{suffix}"
    done = genkey("--home", home, "--no-passphrase", "--export", exported, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert home.stat().st_mode & 0o777 == 0o700
    key = keys.find(None, home=home)
    assert (key.fingerprint, key.user_id) == (told["fingerprint"], told["user_id"])
    listing = gpg(home, "--with-colons", "--list-secret-keys").decode().splitlines()
    (secret,) = [line.split(":") for line in listing if line.startswith("sec:")]
    assert (secret[6], secret[11], secret[16]) == ("", "scSC", "ed25519")
    assert not [line for line in listing if line.startswith("ssb:")]

    signature = signatures.sign(sums, key)
    assert signature.name == "SHA256SUMS.gpg"
    signer = signatures.verify(SUMS, signature.read_bytes(), exported)
    assert (signer.fingerprint, signer.user_id) == (key.fingerprint, key.user_id)
    assert not signer.expired

    keyring = tmp_path / "import-pubring.gpg"
    keyring.write_bytes(keys.export(key, armored=False))
    subprocess.run(["gpgv", "--keyring", keyring, signature, sums], check=True)
    # As systemd-sysupdate calls it (pull-common.c, verify_gpg).
    with gpg_home() as empty:
        empty.mkdir(mode=0o700)
        gpg(
            empty, "--no-options", "--no-default-keyring", "--no-auto-key-locate",
            "--no-auto-check-trustdb", "--trust-model=always", f"--keyring={keyring}",
            "--verify", signature, "-", input=SUMS,
        )  # fmt: skip


def test_genkey_refuses_what_would_not_be_safe(home: Path, tmp_path: Path) -> None:
    (tmp_path / "project/recipes").mkdir(parents=True)
    (tmp_path / "project/recipes/gateway.lock.toml").touch()
    inside = tmp_path / "project/keys"
    (tmp_path / "there").touch()
    refusals = {
        "inside the project": ["--home", inside, "--no-passphrase"],
        "no terminal to ask": ["--home", home],
        "exists already": ["--home", home, "--no-passphrase", "--export", tmp_path / "there"],
    }
    for reason, arguments in refusals.items():
        done = genkey(*arguments, cwd=tmp_path)
        assert done.returncode == SigningKeyError.exit_code, done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    assert not inside.exists()
    assert not home.exists()

    assert genkey("--home", home, "--no-passphrase", cwd=tmp_path).returncode == 0
    again = genkey("--home", home, "--no-passphrase", cwd=tmp_path)
    assert (again.returncode, "already" in again.stderr) == (17, True)
    home.chmod(0o755)
    exposed = genkey("--home", home, "--no-passphrase", "--name", "Other", cwd=tmp_path)
    assert (exposed.returncode, "other users can read" in exposed.stderr) == (17, True)
    with pytest.raises(SigningKeyError, match="other users can read"):
        keys.find(None, home=home)


def test_a_locked_key_never_makes_anybody_wait(home: Path, sums: Path, tmp_path: Path) -> None:
    secret, wrong = tmp_path / "passphrase", tmp_path / "wrong"
    for path, text in ((secret, "correct horse\n"), (wrong, "battery staple\n")):
        path.touch(mode=0o600)
        path.write_text(text)
    user = keys.user_id("Releases", "r@example.org")
    key = keys.generate(NewKey(user_id=user, home=home, passphrase_file=secret))

    def forget() -> None:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)

    for passphrase_file in (None, wrong):
        forget()
        with pytest.raises(SigningKeyError, match="cannot sign with"):
            signatures.rehearse(key, passphrase_file=passphrase_file)
        with pytest.raises(SigningKeyError, match="cannot sign with"):
            signatures.sign(sums, key, passphrase_file=passphrase_file)
        assert not sums.with_name("SHA256SUMS.gpg").exists()
    forget()
    signatures.sign(sums, key, passphrase_file=secret)
    secret.chmod(0o644)
    with pytest.raises(SigningKeyError, match="mode 0644"):
        signatures.sign(sums, key, passphrase_file=secret)


def test_one_of_several_keys_has_to_be_named(home: Path) -> None:
    first, second = make_key(home), make_key(home, "Nightly")
    with pytest.raises(SigningKeyError, match="several keys to sign with"):
        keys.find(None, home=home)
    for wanted, key in (("nightly@", second), (first.fingerprint, first)):
        assert keys.find(wanted, home=home) == key
    with pytest.raises(SigningKeyError, match="no key that fits 'somebody'"):
        keys.find("somebody", home=home)


def test_there_may_be_no_key_at_all(home: Path) -> None:
    with pytest.raises(SigningKeyError) as caught:
        keys.find(None, home=home)
    assert "edgeimg genkey" in str(caught.value.hint)
    assert not home.exists()


@pytest.mark.parametrize(
    ("algorithm", "usage"), [("rsa3072", "sign"), ("nistp256", "sign"), ("ed25519", "cert")]
)
def test_other_kinds_of_keys_sign_too(
    home: Path, sums: Path, tmp_path: Path, algorithm: str, usage: str
) -> None:
    """Such as a smart card has; `cert` only gets a subkey that signs, and a primary kept apart."""
    home.mkdir(mode=0o700)
    gpg(home, "--quick-gen-key", "Card <card@example.org>", algorithm, usage, "never")
    if usage == "cert":
        listing = gpg(home, "--with-colons", "--list-secret-keys").decode().splitlines()
        (primary,) = [line.split(":")[9] for line in listing if line.startswith("fpr:")]
        (grip,) = [line.split(":")[9] for line in listing if line.startswith("grp:")]
        gpg(home, "--quick-add-key", primary, "ed25519", "sign", "never")
        (home / "private-keys-v1.d" / f"{grip}.key").unlink()
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)
    key = keys.find("card@", home=home)
    signature = signatures.sign(sums, key)
    signer = signatures.verify(SUMS, signature.read_bytes(), public(key, tmp_path))
    assert signer.fingerprint == key.fingerprint


def test_the_users_options_do_not_get_into_signatures(home: Path, sums: Path) -> None:
    key = make_key(home)
    options = "armor\ninclude-key-block\nsig-notation a@example.org=b\ncomment hello\n"
    (home / "gpg.conf").write_text(options)
    assert len(signatures.sign(sums, key).read_bytes()) == 119


def test_a_revoked_key_neither_signs_nor_vouches(home: Path, sums: Path, tmp_path: Path) -> None:
    key = make_key(home)
    signature = signatures.sign(sums, key).read_bytes()
    certificate = home / "openpgp-revocs.d" / f"{key.fingerprint}.rev"
    gpg(home, "--import", input=certificate.read_bytes().replace(b":-----", b"-----"))
    with pytest.raises(SigningKeyError, match="no key to sign with"):
        keys.find(None, home=home)
    with pytest.raises(VerifyError, match="revoked"):
        signatures.verify(SUMS, signature, public(key, tmp_path))


def test_what_an_expired_key_signed_before_stays_good(home: Path, tmp_path: Path) -> None:
    home.mkdir(mode=0o700)
    then = ["--faked-system-time", PAST]
    gpg(home, *then, "--quick-gen-key", "Old <old@example.org>", "ed25519", "sign", "30d")
    signature = gpg(home, *then, "--digest-algo", "SHA512", "--detach-sign", input=SUMS)
    with pytest.raises(SigningKeyError, match="no key to sign with"):
        keys.find(None, home=home)
    path = tmp_path / "old.asc"
    path.write_bytes(gpg(home, "--armor", "--export"))
    signer = signatures.verify(SUMS, signature, path)
    assert (signer.expired, signer.date) == (True, "2024-01-01")


def test_a_secret_key_is_no_key_to_verify_with(home: Path, sums: Path, tmp_path: Path) -> None:
    key = make_key(home)
    signature = signatures.sign(sums, key).read_bytes()
    path = tmp_path / "secret"
    for form in (["--armor"], []):
        path.write_bytes(gpg(home, *form, "--export-secret-keys", key.fingerprint))
        with pytest.raises(VerifyError, match=r"secret key|private key"):
            signatures.verify(SUMS, signature, path)
