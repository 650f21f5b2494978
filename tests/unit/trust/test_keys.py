"""Which keys may sign, which of them is meant, and where secret keys must not be."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.errors import SigningKeyError
from edgeimg.trust import keys
from edgeimg.trust.keys import Key

A, B, C, D = "A" * 40, "B" * 40, "C" * 30 + "0123456789", "D" * 40


def listing(
    fingerprint: str,
    user: str = "Releases <r@example.org>",
    *,
    validity: str = "u",
    can: str = "scSC",
    at: str = "+",
    sub: str = "",
) -> str:
    """As `gpg --with-colons --list-secret-keys` prints one key."""
    return (
        f"sec:{validity}:255:22:{fingerprint[-16:]}:1795480043:::u:::{can}:::{at}::ed25519:::0:\n"
        f"fpr:::::::::{fingerprint}:\n"
        f"uid:u::::1795480043::DC3D::{user}::::::::::0:\n" + sub
    )


SUBKEY = f"ssb:u:255:22:{B[-16:]}:1795480043::::::s:::+::ed25519::\nfpr:::::::::{B}:\n"


def fingerprints(text: str) -> list[str]:
    return [key.fingerprint for key in keys.parse(text, None)]


@pytest.mark.parametrize(
    "text",
    [
        listing(A, validity="r"),
        listing(A, validity="e"),
        listing(A, validity="d"),
        listing(A, can="cC"),
        listing(A, at="#"),
        listing(A, can="cC", sub=SUBKEY.replace("ssb:u", "ssb:e")),
        listing(A, at="#", sub=SUBKEY.replace(":+:", ":#:")),
        "",
        "tru::1:1:1:3:1:5\n",
    ],
    ids=["revoked", "expired", "disabled", "cannot sign", "not here", "subkey expired",
         "subkey not here", "nothing", "no key"],
)  # fmt: skip
def test_unusable_keys_are_not_found(text: str) -> None:
    assert fingerprints(text) == []
    assert fingerprints(text + listing(D)) == [D]


@pytest.mark.parametrize("at", ["#", "D2760001240103040006123456780000", "+"])
def test_a_key_that_signs_by_a_subkey_goes_by_its_primary_fingerprint(at: str) -> None:
    assert fingerprints(listing(A, can="cSC", at=at, sub=SUBKEY)) == [A]


def test_user_ids_are_unescaped() -> None:
    (key,) = keys.parse(listing(A, r"Müller\x3a Gateways <m@example.org>"), Path("h"))
    assert key == Key(fingerprint=A, user_id="Müller: Gateways <m@example.org>", home=Path("h"))


KEYS = [
    Key(fingerprint=A, user_id="Releases <releases@example.org>"),
    Key(fingerprint=B, user_id="Test Releases <tests@example.org>"),
    Key(fingerprint=C, user_id="Nightly <nightly@example.org>"),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (A, A),
        ("0123456789", None),
        (C[-16:].lower(), C),
        (f"0x{C[-16:]}", C),
        (" ".join(C[at : at + 4] for at in range(0, 40, 4)), C),
        ("nightly@", C),
        ("NIGHTLY", C),
        ("Releases <releases@example.org>", A),
    ],
)
def test_a_key_is_named_by_fingerprint_or_user_id(wanted: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(SigningKeyError, match="no key that fits"):
            keys.choose(KEYS, wanted, Path("home"))
    else:
        assert keys.choose(KEYS, wanted, Path("home")).fingerprint == expected


def test_several_that_fit_are_all_told() -> None:
    for wanted in (None, "releases"):
        with pytest.raises(SigningKeyError, match=f"several keys(.|\n)*{A}(.|\n)*{B}") as caught:
            keys.choose(KEYS, wanted, Path("home"))
        assert "--key FINGERPRINT" in str(caught.value.hint)


def test_the_only_one_need_not_be_named_and_none_tells_how_to_make_one() -> None:
    assert keys.choose(KEYS[:1], None, Path("home")) == KEYS[0]
    with pytest.raises(SigningKeyError) as caught:
        keys.choose([], None, Path("home"))
    assert "edgeimg genkey" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "email"),
    [("", "a@b.c"), ("a <b>", "a@b.c"), ("a\nb", "a@b.c"),
     ("a", "b"), ("a", "b@c d"), (" a", "a@b")],
)  # fmt: skip
def test_user_ids_that_gpg_would_take_for_something_else(name: str, email: str) -> None:
    with pytest.raises(SigningKeyError):
        keys.user_id(name, email)


@pytest.mark.parametrize("mark", [".git", "recipes/gateway.lock.toml"])
def test_a_home_inside_a_project_is_refused(tmp_path: Path, mark: str) -> None:
    (tmp_path / "project" / mark).parent.mkdir(parents=True)
    (tmp_path / "project" / mark).touch()
    inside = tmp_path / "project" / "deep" / "keys"
    with pytest.raises(SigningKeyError, match="inside the project"):
        keys.guard(inside, explicit=True)
    keys.guard(inside, explicit=False)  # the user's own, in a home directory that is kept in git
    keys.guard(tmp_path / "elsewhere", explicit=True)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    with pytest.raises(SigningKeyError, match="inside the project"):
        keys.guard(tmp_path / "link" / "keys", explicit=True)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
def test_a_home_that_others_get_into_is_refused(tmp_path: Path, mode: int, given: bool) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    keys.guard(home, explicit=given)
    home.chmod(mode)
    with pytest.raises(SigningKeyError, match=f"mode {mode:04o}") as caught:
        keys.guard(home, explicit=given)
    assert f"chmod 700 {home}" in str(caught.value.hint)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "home/private-keys-v1.d/0123.key"
    secret.parent.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    secret.touch(mode=0o600)
    keys.guard(tmp_path / "home", explicit=True)
    secret.chmod(0o644)
    with pytest.raises(SigningKeyError, match=r"0123\.key \(mode 0644\)"):
        keys.guard(tmp_path / "home", explicit=True)


def test_a_passphrase_file_is_kept_like_a_key(tmp_path: Path) -> None:
    secret = tmp_path / "project/passphrase"
    with pytest.raises(SigningKeyError, match="there is no passphrase file"):
        keys.check_passphrase_file(secret)
    secret.parent.mkdir()
    secret.touch(mode=0o600)
    keys.check_passphrase_file(secret)
    secret.chmod(0o640)
    with pytest.raises(SigningKeyError, match="mode 0640"):
        keys.check_passphrase_file(secret)
    secret.chmod(0o600)
    (tmp_path / "project/.git").mkdir()
    with pytest.raises(SigningKeyError, match="inside the project"):
        keys.check_passphrase_file(secret)
