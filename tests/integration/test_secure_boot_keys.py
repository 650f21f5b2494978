"""Keys, certificates and variables of Secure Boot that are refused, each with its control."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from edgeimg.arch import ARM, X86_64
from edgeimg.build import project_files
from edgeimg.errors import RecipeError, SigningKeyError, VerifyError
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.recipe.trust import Trust
from edgeimg.trust import openssl, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
]

PROJECT = Path(__file__).parents[2]
EPOCH = 1767225600


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two makers of the same name: the directories above `private` and `public`."""
    places = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for place in places:
        secure_boot.generate(
            KeyDirectory(place / "private"), place / "public", name="Example Ltd", epoch=EPOCH
        )
    return places


@pytest.fixture
def public(makers: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first maker's certificates and variables."""
    return Path(shutil.copytree(makers[0] / "public", tmp_path / "public"))


def recipe(public: Path, enroll: str) -> RecipeFile:
    source = load(PROJECT / "recipes/gateway.toml")
    path = os.path.relpath(public, source.project)
    trust = Trust.model_validate({"secure_boot": path, "enroll": enroll})
    return dataclasses.replace(source, recipe=source.recipe.model_copy(update={"trust": trust}))


def foreign_certificate(place: Path, *algorithm: str) -> bytes:
    """A certificate that other programs made."""
    done = subprocess.run(
        ["openssl", "req", "-new", "-x509", "-newkey", *algorithm, "-nodes", "-keyout",
         place / "foreign.key", "-subj", "/CN=Foreign"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("variable", ["PK", "KEK", "db"])
@pytest.mark.parametrize("suffix", [".auth", ".pem"])
def test_a_variable_holds_the_certificate_beside_it(
    makers: tuple[Path, Path], public: Path, variable: str, suffix: str
) -> None:
    file = public / f"{variable}{suffix}"
    mine = file.read_bytes()
    file.write_bytes((makers[1] / "public" / file.name).read_bytes())
    with pytest.raises(VerifyError, match=variable):
        secure_boot.variables(public)
    with pytest.raises(RecipeError, match=variable):
        project_files.enrolment(recipe(public, "force"), recipe(public, "force").recipe, X86_64)
    file.write_bytes(mine)
    assert sorted(secure_boot.variables(public)) == ["KEK.auth", "PK.auth", "db.auth"]


def test_a_certificate_that_the_key_above_did_not_list_is_refused(
    makers: tuple[Path, Path], public: Path
) -> None:
    """A new certificate of the same key is another certificate."""
    mine = (public / "db.pem").read_bytes()
    again = KeyDirectory(makers[0] / "private").certificate("db", "Example Ltd db")
    (public / "db.pem").write_bytes(again.pem)
    with pytest.raises(VerifyError, match=r"not the one of db\.pem"):
        secure_boot.variables(public)
    (public / "db.pem").write_bytes(mine)
    assert secure_boot.variables(public)


def test_every_changed_byte_of_a_variable_is_refused(public: Path) -> None:
    file = public / "db.auth"
    mine = file.read_bytes()
    for place in (*range(0, len(mine), 97), len(mine) - 1):
        changed = bytearray(mine)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(VerifyError, match=r"db\.auth"):
            secure_boot.variables(public)
    file.write_bytes(mine)
    assert secure_boot.variables(public)["db.auth"] == mine


@pytest.mark.parametrize(
    ("algorithm", "reason"),
    [
        (("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "not RSA"),
        (("rsa:1024",), "1024 bits"),
        (("rsa:2056",), "2056 bits"),
        (("rsa:3072",), ""),
    ],
)
def test_a_key_that_firmware_cannot_use_is_refused_when_the_recipe_is_read(
    public: Path, tmp_path: Path, algorithm: tuple[str, ...], reason: str
) -> None:
    (public / "db.pem").write_bytes(foreign_certificate(tmp_path, *algorithm))
    source = recipe(public, "off")
    if not reason:
        assert project_files.enrolment(source, source.recipe, X86_64) == {}
        assert secure_boot.certificate(public).bits == 3072
        return
    with pytest.raises(RecipeError, match=reason):
        project_files.enrolment(source, source.recipe, X86_64)
    with pytest.raises(VerifyError, match=reason):
        secure_boot.certificate(public)
    assert project_files.enrolment(source, source.recipe, ARM) == {}


def test_genkey_uses_no_other_key_than_rsa(tmp_path: Path) -> None:
    home = tmp_path / "private"
    home.mkdir(mode=0o700)
    foreign_certificate(tmp_path, "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    key = Path(shutil.move(tmp_path / "foreign.key", home / "db.key"))
    key.chmod(0o600)
    with pytest.raises(SigningKeyError, match="not RSA"):
        secure_boot.generate(
            KeyDirectory(home), tmp_path / "public", name="Example Ltd", epoch=EPOCH
        )
    assert not (tmp_path / "public").exists()
    key.unlink()
    secure_boot.generate(KeyDirectory(home), tmp_path / "public", name="Example Ltd", epoch=EPOCH)
    assert secure_boot.variables(tmp_path / "public")


@pytest.mark.parametrize(("step", "count"), [("new_key", 2), ("self_signed", 2), ("sign", 3)])
def test_an_interrupted_genkey_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    home, public = tmp_path / "private", tmp_path / "public"
    whole, calls = getattr(openssl, step), []

    def interrupted(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == count:
            raise KeyboardInterrupt
        return whole(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(openssl, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            secure_boot.generate(KeyDirectory(home), public, name="Example Ltd", epoch=EPOCH)
    assert not public.exists()
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    assert all(b"PRIVATE KEY" in content for content in before.values())
    secure_boot.generate(KeyDirectory(home), public, name="Example Ltd", epoch=EPOCH)
    assert sorted(path.name for path in home.iterdir()) == ["KEK.key", "PK.key", "db.key"]
    assert {name: (home / name).read_bytes() for name in before} == before
    assert secure_boot.signer(KeyDirectory(home), public).certificate == secure_boot.certificate(
        public
    )
    assert secure_boot.variables(public)


def test_a_directory_with_files_gets_no_keys(makers: tuple[Path, Path], tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    (public / "README").write_text("text")
    with pytest.raises(SigningKeyError, match="README exists already"):
        secure_boot.generate(
            KeyDirectory(makers[0] / "private"), public, name="Example Ltd", epoch=EPOCH
        )
    (public / "README").unlink()
    secure_boot.generate(
        KeyDirectory(makers[0] / "private"), public, name="Example Ltd", epoch=EPOCH
    )
    assert len(list(public.iterdir())) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
@pytest.mark.parametrize("name", ["", "db.key"])
def test_a_key_of_another_user_is_not_used(
    makers: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    home = Path(shutil.copytree(makers[0] / "private", tmp_path / "private"))
    place = home / name
    os.chown(place, 12345, -1)
    with pytest.raises(SigningKeyError, match="another user"):
        secure_boot.signer(KeyDirectory(home), makers[0] / "public")
    os.chown(place, 0, -1)
    place.chmod(0o750)
    with pytest.raises(SigningKeyError, match="other users"):
        secure_boot.signer(KeyDirectory(home), makers[0] / "public")
    place.chmod(0o700)
    assert secure_boot.signer(KeyDirectory(home), makers[0] / "public")
