"""Packages of other suites and components, resolved by the real apt from a small archive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARM
from edgeimg.cache.store import Store
from edgeimg.errors import LockError
from edgeimg.lock.file import encode_lock, read_lock, write_lock
from edgeimg.lock.model import Lock, Package
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.resolve import lock as locks
from edgeimg.resolve.requests import verify
from edgeimg.resolve.update import changes
from edgeimg.sources import apt

from tests.integration.archive import Archive
from tests.integration.fileserver import FileServer
from tests.integration.test_lock import BUILTIN, FIELDS, PACKAGES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not apt.available(), reason="this host has no apt"),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="this host has no gpg"),
]
OTHERS = {
    "experimental/main": {"app": "9", "liba": "4.0", "tool": "2", "linux-image-armmp": "6.18.1"},
    "trixie-backports/main": {"linux-image-armmp": "6.16.1", "linux-image-6.16.1-armmp": "6.16.1"},
    "trixie/non-free-firmware": {"blob": "1"},
    "experimental/non-free-firmware": {"blob": "2"},
}
MORE = {
    "tool": "Depends: liba\n",
    "app=9": "Depends: liba (>= 3), blob | setup\n",
    "linux-image-armmp=6.16.1": "Depends: linux-image-6.16.1-armmp (= 6.16.1)\n",
}


@pytest.fixture
def archive(server: FileServer, archive_key: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(server, archive_key, {**FIELDS, **MORE}, {"experimental": "rc-buggy"})
    monkeypatch.setattr(apt, "KEYRING", made.keyring)
    made.publish(PACKAGES, others=OTHERS)
    return made


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def recipe(*include: str, **packages: Any) -> Recipe:
    said = {"include": include or ("app",), **packages}
    return Recipe.model_validate({"packages": said, "k3s": {"source": "standin"}})


def resolve(archive: Archive, cache: Path, wanted: Recipe, **given: Any) -> Lock:
    options: dict[str, Any] = {
        "archs": [ARM],
        "tools_hosts": [],
        "previous": None,
        "update": None,
        "accept_unsigned": (),
        **given,
    }
    return locks.resolve(wanted, store=Store(cache), env=archive.env, **options)


def rows(lock: Lock, group: str = "root") -> dict[str, tuple[str, str]]:
    return {p.name: (p.version, p.suite) for p in lock.images["arm"].groups[group]}


def test_a_pinned_package_comes_from_its_suite_and_its_dependencies_do_not(
    archive: Archive, tmp_path: Path
) -> None:
    lock = resolve(archive, tmp_path, recipe(pin={"app": "experimental"}))
    assert rows(lock) == {"app": ("9", "experimental"), "liba": ("3.0", ""), "setup": ("5", "")}
    text = encode_lock(lock)
    assert ' experimental"' in text
    write_lock(lock, tmp_path / "lock")
    assert read_lock(tmp_path / "lock") == lock
    verify(recipe(pin={"app": "experimental"}), lock)


def test_a_dependency_may_be_pinned_too(archive: Archive, tmp_path: Path) -> None:
    pin = {"app": "experimental", "liba": "experimental"}
    found = rows(resolve(archive, tmp_path, recipe(pin=pin)))
    assert found["liba"] == ("4.0", "experimental")


def test_nothing_else_of_the_other_suite_is_seen(archive: Archive, tmp_path: Path) -> None:
    """Not a newer version, not a package that only the other suite has."""
    plain = resolve(archive, tmp_path, recipe())
    pinned = resolve(archive, tmp_path, recipe(pin={"liba": "experimental"}))
    assert rows(pinned)["app"] == rows(plain)["app"]
    assert rows(pinned, "kernel") == rows(plain, "kernel")
    with pytest.raises(LockError, match="no such package for armhf: tool"):
        resolve(archive, tmp_path, recipe("app", "tool", pin={"liba": "experimental"}))
    found = rows(resolve(archive, tmp_path, recipe("tool", pin={"tool": "experimental"})))
    assert found == {"tool": ("2", "experimental"), "liba": ("3.0", "")}


def test_a_glob_pins_a_kernel_with_its_version(archive: Archive, tmp_path: Path) -> None:
    lock = resolve(archive, tmp_path, recipe(pin={"linux-image-*": "trixie-backports"}))
    assert rows(lock, "kernel") == {"linux-image-6.16.1-armmp": ("6.16.1", "trixie-backports")}


def test_an_older_version_is_taken_when_it_is_pinned(archive: Archive, tmp_path: Path) -> None:
    archive.publish({**PACKAGES, "app": "10"}, others=OTHERS)
    assert rows(resolve(archive, tmp_path, recipe(pin={"app": "experimental"})))["app"][0] == "9"


def test_components_are_seen_when_they_are_asked_for(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no such package for armhf: blob"):
        resolve(archive, tmp_path, recipe("blob"))
    lock = resolve(archive, tmp_path, recipe("blob", components=["non-free-firmware"]))
    assert rows(lock) == {"blob": ("1", "")}
    (blob,) = lock.images["arm"].groups["root"]
    assert blob.path == "pool/non-free-firmware/b/blob/blob_1_armhf.deb"
    both = recipe("blob", components=["main", "non-free-firmware"], pin={"blob": "experimental"})
    assert rows(resolve(archive, tmp_path, both)) == {"blob": ("2", "experimental")}


def test_a_component_of_a_pinned_suite_is_not_seen_either(archive: Archive, tmp_path: Path) -> None:
    """The alternative that only non-free-firmware has is no alternative."""
    pin = {"app": "experimental"}
    assert "setup" in rows(resolve(archive, tmp_path, recipe(pin=pin)))
    free = rows(resolve(archive, tmp_path, recipe(pin=pin, components=["non-free-firmware"])))
    assert "blob" in free


def test_a_request_of_a_board_is_seen_by_itself_alone(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Request.pins`, as a board uses it: the other groups do not change."""
    from edgeimg.resolve import requests
    from edgeimg.sources.pins import Pins

    plain = resolve(archive, tmp_path, recipe())
    ours = requests.image_requests
    board = requests.Request(
        names=("tool", "blob"),
        exclude=(),
        pins=Pins(suites={"tool": "experimental"}, components=("non-free-firmware",)),
    )
    monkeypatch.setattr(
        "edgeimg.resolve.lock.image_requests", lambda *given: {**ours(*given), "board": board}
    )
    lock = resolve(archive, tmp_path, recipe())
    found = {"tool": ("2", "experimental"), "liba": ("3.0", ""), "blob": ("1", "")}
    assert rows(lock, "board") == found
    groups = dict(lock.images["arm"].groups)
    del groups["board"]
    assert groups == plain.images["arm"].groups


def test_what_the_base_suite_lacks_is_one_line(archive: Archive, tmp_path: Path) -> None:
    archive.extra["app=9"] = "Depends: liba (>= 4)\n"
    archive.publish(PACKAGES, others=OTHERS)
    pin = {"app": "experimental"}
    with pytest.raises(LockError) as caught:
        resolve(archive, tmp_path, recipe(pin=pin))
    said = "app of experimental needs liba (>= 4), and trixie has 3.0 for armhf"
    assert caught.value.message == said
    assert 'packages.pin.liba = "experimental"' in (caught.value.hint or "")
    resolve(archive, tmp_path, recipe(pin={**pin, "liba": "experimental"}))


def test_a_dependency_that_only_the_other_suite_has_is_named(
    archive: Archive, tmp_path: Path
) -> None:
    archive.extra["app=9"] = "Depends: tool\n"
    archive.publish(PACKAGES, others=OTHERS)
    with pytest.raises(LockError, match="app of experimental needs tool, and trixie has none"):
        resolve(archive, tmp_path, recipe(pin={"app": "experimental"}))


def test_a_pinned_package_that_its_suite_lacks_is_refused(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError) as caught:
        resolve(archive, tmp_path, recipe(pin={"setup": "experimental"}))
    said = "there is no package setup for armhf in experimental, which it is pinned to"
    assert caught.value.message == said


def test_a_pin_that_hits_nothing_is_listed(archive: Archive, tmp_path: Path) -> None:
    notes = Notes()
    pin = {"app": "experimental", "ap": "experimental", "linux-*": "trixie-backports"}
    resolve(archive, tmp_path, recipe(pin=pin), progress=notes)
    assert notes.lines == ["packages.pin names ap, and no image has such a package"]


def test_a_suite_that_is_the_base_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.codenames["experimental"] = "trixie"
    archive.publish(PACKAGES, others=OTHERS)
    for suite in ("experimental", "trixie-security"):
        with pytest.raises(LockError, match=f"pinned to {suite}, which the recipe takes"):
            resolve(archive, tmp_path, recipe(pin={"app": suite}))


def test_a_suite_that_the_archive_lacks_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError, match="apt cannot read the package indexes") as caught:
        resolve(archive, tmp_path, recipe(pin={"app": "nowhere"}))
    assert "dists/nowhere" in caught.value.message or "nowhere" in caught.value.message


def test_every_suite_is_signed(archive: Archive, tmp_path: Path) -> None:
    pin = {"app": "experimental", "linux-image-*": "trixie-backports"}
    resolve(archive, tmp_path, recipe(pin=pin))
    place = "/debian/dists/trixie-backports/InRelease"
    archive.server.files[place] = archive.server.files[place].replace(b"Origin: Test", b"Origin: X")
    with pytest.raises(LockError, match="apt cannot read"):
        resolve(archive, tmp_path, recipe(pin=pin), accept_unsigned=("arm",))


def test_an_index_of_another_suite_out_of_step_is_not_accepted(
    archive: Archive, tmp_path: Path
) -> None:
    index = "/debian/dists/experimental/main/binary-armhf/Packages.xz"
    archive.server.files[index] += b"longer"
    with pytest.raises(LockError, match="does not match its signed Release file"):
        resolve(archive, tmp_path, recipe(pin={"app": "experimental"}), accept_unsigned=("arm",))


def test_an_unsigned_index_stands_beside_a_signed_suite(archive: Archive, tmp_path: Path) -> None:
    index = "/debian/dists/trixie/main/binary-armhf/Packages.xz"
    good = archive.server.files[index]
    archive.publish({**PACKAGES, "setup": "6"}, others=OTHERS)
    newer = archive.server.files[index]
    archive.publish(PACKAGES, others=OTHERS)
    assert archive.server.files[index] == good
    archive.server.files[index] = newer
    asked: dict[str, Any] = {"components": ["non-free-firmware"], "pin": {"app": "experimental"}}
    lock = resolve(archive, tmp_path, recipe("blob", **asked), accept_unsigned=("arm",))
    assert rows(lock) == {"blob": ("1", "")}
    assert lock.images["arm"].unsigned_index
    lock = resolve(archive, tmp_path, recipe("app", **asked), accept_unsigned=("arm",))
    assert rows(lock)["app"] == ("9", "experimental")
    assert rows(lock, "kernel") == {"linux-image-6.12.1-armmp": ("6.12.1", "")}
    del asked["components"]
    with pytest.raises(LockError, match="no such package for armhf: blob"):
        resolve(archive, tmp_path, recipe("blob", **asked), accept_unsigned=("arm",))


def test_a_pin_that_comes_or_goes_renews_its_package_alone(
    archive: Archive, tmp_path: Path
) -> None:
    plain = resolve(archive, tmp_path, recipe())
    newer = {**PACKAGES, "liba": "3.1", "setup": "5", **BUILTIN}
    archive.publish(newer, others=OTHERS)
    wanted = recipe(pin={"app": "experimental"})
    with pytest.raises(
        LockError, match="app is pinned to experimental, the lock has that of trixie"
    ):
        verify(wanted, plain)
    pinned = resolve(archive, tmp_path, wanted, previous=plain)
    assert rows(pinned) == {"app": ("9", "experimental"), "liba": ("3.0", ""), "setup": ("5", "")}
    with pytest.raises(
        LockError, match="app is pinned to trixie, the lock has that of experimental"
    ):
        verify(recipe(), pinned)
    back = resolve(archive, tmp_path, recipe(), previous=pinned)
    assert rows(back) == rows(plain)
    assert changes(plain, pinned) == [line for line in changes(plain, pinned) if " app: " in line]


def test_without_new_keys_nothing_changes(archive: Archive, tmp_path: Path) -> None:
    """The digest that locks have had since 0.1, and what apt is asked for."""
    archive.server.log.clear()
    lock = resolve(archive, tmp_path, recipe())
    assert not any("experimental" in path or "non-free" in path for path, _ in archive.server.log)
    every: list[Package] = [*lock.images["arm"].packages()]
    assert every
    assert not any(package.suite for package in every)
    assert "deb 7 " in encode_lock(lock)
    assert all(len(line.split()) <= 8 for line in encode_lock(lock).splitlines() if ".deb " in line)
