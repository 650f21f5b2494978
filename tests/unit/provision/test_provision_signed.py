"""Signed settings: what the desk signs, a gateway with the key takes; everything else it refuses.

The gateway's own scripts run here, on a root of their own, with the host's gpgv.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.compose import signed_settings
from edgeimg.errors import ProvisionError, RecipeError, VerifyError
from edgeimg.provision import signing
from edgeimg.provision.rendering import NAMES, SECRET, SIGNED, files
from edgeimg.provision.settings import Settings
from edgeimg.provision.signing import Signing
from edgeimg.recipe.provisioning import Provisioning
from edgeimg.tree import Tree, file
from edgeimg.trust import keys, signatures

from tests.gateway_root import BOX, Root
from tests.gateway_root import SECRET as TOKEN
from tests.integration.signing import gpg, gpg_home, make_key

OTHER = Settings.model_validate({"hostname": "box-3"})
RENAMED = BOX.model_copy(update={"hostname": "box-3"})


@pytest.fixture(scope="module")
def makers() -> Iterator[tuple[Signing, Signing]]:
    """The maker, and somebody else."""
    with gpg_home() as home, gpg_home() as other:
        yield (
            Signing(key=make_key(home, "Maker"), serial=100),
            Signing(key=make_key(other, "Mallory"), serial=100),
        )


@pytest.fixture
def root(tmp_path: Path, makers: tuple[Signing, Signing]) -> Root:
    """A gateway whose image has the maker's key."""
    made = Root(tmp_path)
    keyring = made.path / signed_settings.KEYRING
    keyring.write_bytes(keys.export(makers[0].key, armored=False))
    return made


def card(root: Root, found: dict[str, bytes]) -> None:
    shutil.rmtree(root.config)
    root.config.mkdir()
    root.put(found)


def test_a_signed_set_is_taken_over_and_its_secrets_are_wiped(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    root.put(signing.signed(files(BOX), makers[0]))
    (root.config / "README.txt").write_text("read me")
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-2\n"
    assert TOKEN in root.read("etc/rancher/k3s/config.yaml.d/90-provision.yaml")
    # Digests of short secrets can be guessed: they go with the secrets.
    left = {str(path.relative_to(root.config)) for path in root.config.rglob("*")}
    assert left == {"README.txt", "authorized_keys", "hostname", "network",
                    "network/10-lan.network"}  # fmt: skip
    assert root.holders(TOKEN) == {
        "etc/rancher/k3s/config.yaml.d/90-provision.yaml", "var/lib/edgeimg/provision/k3s.yaml",
    }  # fmt: skip
    # What is left on the card is no news.
    assert root.start() == ""
    assert TOKEN in root.read("var/lib/edgeimg/provision/k3s.yaml")


def test_an_empty_card_is_no_problem(root: Root) -> None:
    assert root.start() == ""
    (root.config / "README.txt").write_text("read me")
    assert root.start() == ""


def add(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda found: found.update({f"edgeimg/{name}": b"ntp.example.org\n"})


def drop(*names: str) -> Callable[[dict[str, bytes]], None]:
    def without(found: dict[str, bytes]) -> None:
        for name in names:
            del found[f"edgeimg/{name}"]

    return without


def change(found: dict[str, bytes]) -> None:
    found["edgeimg/hostname"] = b"box-4\n"


def change_document(found: dict[str, bytes]) -> None:
    found["edgeimg/settings.sums"] = found["edgeimg/settings.sums"].replace(b"=200", b"=300")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (add("ntp"), "ntp: is not in the signed set"),
        (add("ca/x.crt"), "ca/x.crt: is not in the signed set"),
        (add("network/x/y.network"), "network/x: is a directory"),
        (add("a b"), "a b: expected a name"),
        (drop("k3s.yaml"), "k3s.yaml: is missing"),
        (change, "hostname: was changed"),
        (change_document, "the signature is not good"),
        (drop("settings.sums.gpg"), "are not signed"),
        (drop("settings.sums"), "hostname: was changed"),
        (drop("settings.sums", "settings.sums.gpg"), "hostname: was changed"),
    ],
)  # fmt: skip
def test_a_set_that_is_not_what_was_signed_is_refused_whole(
    root: Root, makers: tuple[Signing, Signing], harm: Callable[[dict[str, bytes]], None], said: str
) -> None:
    root.put(signing.signed(files(BOX), makers[0]))
    assert root.start() == ""
    new = BOX.model_copy(update={"hostname": "box-5"})
    good = signing.signed(files(new), replace(makers[0], serial=200, was="box-2"))
    found = dict(good)
    harm(found)
    card(root, found)
    problem = root.start()
    assert said in problem
    assert "nothing of it was taken over" in problem
    assert root.read("etc/hostname") == "box-2\n"
    assert not (root.path / "run/edgeimg/card").exists()
    card(root, good)
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-5\n"


def test_settings_that_nobody_signed_are_refused(root: Root) -> None:
    root.put(files(BOX))
    assert "the settings are not signed" in root.start()
    assert not root.kept.exists()
    # Without the key in the image they are taken.
    (root.path / signed_settings.KEYRING).unlink()
    assert root.start() == ""
    assert root.kept.exists()


def test_another_key_signs_nothing(root: Root, makers: tuple[Signing, Signing]) -> None:
    root.put(signing.signed(files(BOX), makers[1]))
    assert "of another key than the image's" in root.start()
    assert not root.kept.exists()


def test_a_signature_of_something_else_by_the_same_key_is_refused(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    # A release of the maker's has a signed list of digests, too.
    found = signing.signed(files(BOX), makers[0])
    lines = found["edgeimg/settings.sums"].splitlines(keepends=True)[3:]
    document = b"".join(lines)
    found["edgeimg/settings.sums"] = document
    found["edgeimg/settings.sums.gpg"] = signatures.detached(document, makers[0].key)
    root.put(found)
    assert "expected what 'edgeimg provision --sign' writes" in root.start()


def test_old_settings_are_noticed_and_a_new_signature_brings_them_back(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    maker = makers[0]
    old = signing.signed(files(BOX), maker)
    new = BOX.model_copy(update={"ntp": ["ntp.example.org"]})
    root.put(signing.signed(files(new), replace(maker, serial=200)))
    assert root.start() == ""
    card(root, old)
    assert "older (serial 100) than those in use (200)" in root.start()
    assert (root.kept / "ntp").exists()
    card(root, signing.signed(files(BOX), replace(maker, serial=200)))
    assert "other settings with serial 200 are in use" in root.start()
    card(root, signing.signed(files(BOX), replace(maker, serial=201)))
    assert root.start() == ""
    assert not (root.kept / "ntp").exists()  # a signed set is whole


def test_settings_of_another_gateway_are_refused(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    root.put(signing.signed(files(BOX), makers[0]))
    assert root.start() == ""
    later = replace(makers[0], serial=200)
    card(root, signing.signed(files(OTHER), later))
    assert "of gateway box-3, and this is box-2" in root.start()
    assert root.read("etc/hostname") == "box-2\n"
    card(root, signing.signed(files(OTHER), replace(later, was="box-1")))
    assert "of gateway box-3, and this is box-2" in root.start()
    card(root, signing.signed(files(OTHER), replace(later, was="box-2")))
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-3\n"


def test_a_power_cut_while_secrets_are_wiped_is_no_problem(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    found = signing.signed(files(BOX), makers[0])
    root.put(found)
    assert root.start() == ""
    for wiped in ([], ["k3s.yaml"], ["k3s.yaml", "settings.sums"]):
        card(root, found)
        (root.path / "var/lib/edgeimg/provision.wiping").write_text("")
        for name in wiped[:-1]:
            (root.config / name).unlink()
        for name in wiped[-1:]:
            (root.config / name).write_bytes(bytes(len(found[f"edgeimg/{name}"])))
        assert root.start() == "", wiped
        assert not (root.config / "settings.sums").exists()
        assert TOKEN in root.read("var/lib/edgeimg/provision/k3s.yaml")


def test_a_gateway_whose_clock_is_not_set_takes_them(
    root: Root, makers: tuple[Signing, Signing]
) -> None:
    # A key made in 2040 stands for a clock that is behind: without an option gpgv refuses both.
    found = signing.signed(files(BOX), makers[0])
    later = ("--faked-system-time", "20400101T000000")
    with gpg_home() as home:
        home.mkdir(mode=0o700)
        gpg(home, *later, "--quick-generate-key", "Later <l@example.org>", "ed25519", "sign")
        (root.path / signed_settings.KEYRING).write_bytes(gpg(home, *later, "--export"))
        found["edgeimg/settings.sums.gpg"] = gpg(
            home, *later, "--detach-sign", "-", input=found["edgeimg/settings.sums"]
        )
    root.put(found)
    assert root.start() == ""


def test_the_desk_signs_with_the_key_of_the_image_only(
    tmp_path: Path, makers: tuple[Signing, Signing]
) -> None:
    public = tmp_path / "settings.asc"
    public.write_bytes(keys.export(makers[0].key))
    found = signing.signed(files(BOX), replace(makers[0], expected=public))
    assert {name.removeprefix("edgeimg/") for name in found} > set(SIGNED)
    with pytest.raises(VerifyError, match="another key"):
        signing.signed(files(BOX), replace(makers[1], expected=public))
    for serial in (0, -1, 10**15):
        with pytest.raises(ProvisionError, match="expected a number"):
            signing.signed(files(BOX), replace(makers[0], serial=serial))
    assert not {*NAMES, *SECRET} & set(SIGNED)


def test_an_image_with_a_key_can_verify() -> None:
    signed = Provisioning.model_validate({"key": "keys/settings.asc"})
    with pytest.raises(RecipeError, match="no gpgv"):
        signed_settings.require_verifier(Tree(), signed)
    signed_settings.require_verifier(Tree().with_nodes({"usr/bin/gpgv": file(b"")}), signed)
    signed_settings.require_verifier(Tree(), Provisioning())
