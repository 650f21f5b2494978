"""Locks resolved by the real apt, from a small signed archive on this machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.arch import ARM
from edgeimg.cache.store import Store
from edgeimg.errors import LockError
from edgeimg.lock.groups import BOOT_PACKAGES, CONTAINER_PACKAGES, INITRD_PACKAGES
from edgeimg.lock.model import KernelPin, Lock
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Kernel
from edgeimg.resolve import lock as locks
from edgeimg.sources import apt

from tests.integration.archive import Archive
from tests.integration.fileserver import FileServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not apt.available(), reason="this host has no apt"),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="this host has no gpg"),
]
INDEX = "/debian/dists/trixie/main/binary-armhf/Packages.xz"
BUILTIN = dict.fromkeys((*BOOT_PACKAGES, *INITRD_PACKAGES, *CONTAINER_PACKAGES), "1")
PACKAGES = {
    **BUILTIN,
    "app": "2:1.0-1+b1",
    "liba": "3.0",
    "setup": "5",
    "extra": "9",
    "linux-image-armmp": "6.12.1",
    "linux-image-6.12.1-armmp": "6.12.1",
    "big-library": "1",
}
FIELDS = {
    "app": "Depends: liba (>= 2), setup (= 5)\nRecommends: extra\n",
    "linux-image-armmp": "Depends: linux-image-6.12.1-armmp (= 6.12.1)\n",
    "linux-image-6.12.1-armmp": "Depends: big-library\n",
}


@pytest.fixture
def archive(server: FileServer, archive_key: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(server, archive_key, dict(FIELDS))
    monkeypatch.setattr(apt, "KEYRING", made.keyring)
    made.publish(PACKAGES)
    return made


def recipe(*include: str, exclude: tuple[str, ...] = ()) -> Recipe:
    packages = {"include": include or ("app",), "exclude": exclude}
    k3s = {"source": "standin"}
    return Recipe.model_validate({"packages": packages, "k3s": k3s})


def resolve(
    archive: Archive,
    cache: Path,
    wanted: Recipe,
    *,
    previous: Lock | None = None,
    update: tuple[str, ...] | None = None,
    accept: tuple[str, ...] = (),
    kernel: KernelPin | None = None,
) -> Lock:
    return locks.resolve(
        wanted,
        archs=[ARM],
        tools_hosts=[],
        previous=previous,
        update=update,
        accept_unsigned=accept,
        store=Store(cache),
        kernels={"arm": kernel} if kernel else {},
        env=archive.env,
    )


def root(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.images["arm"].groups["root"]}


def test_dependencies_are_locked_and_recommendations_are_not(
    archive: Archive, tmp_path: Path
) -> None:
    lock = resolve(archive, tmp_path, recipe())
    assert root(lock) == {"app": "2:1.0-1+b1", "liba": "3.0", "setup": "5"}
    app = lock.images["arm"].groups["root"][0]
    assert app.path == "pool/main/a/app/app_2:1.0-1+b1_armhf.deb"
    assert (app.arch, app.archive, app.size) == ("armhf", "debian", 7)
    assert app.sha256 == hashlib.sha256(b"app2:1.0-1+b1").hexdigest()
    assert not lock.images["arm"].unsigned_index
    assert [p.name for p in lock.images["arm"].groups["kernel"]] == ["linux-image-6.12.1-armmp"]
    assert list((tmp_path / "partial").iterdir()) == []


def test_an_excluded_package_counts_as_installed(archive: Archive, tmp_path: Path) -> None:
    lock = resolve(archive, tmp_path, recipe(exclude=("setup",)))
    assert root(lock) == {"app": "2:1.0-1+b1", "liba": "3.0"}


def test_nothing_is_resolved_twice(archive: Archive, tmp_path: Path) -> None:
    lock = resolve(archive, tmp_path, recipe())
    archive.publish({**PACKAGES, "liba": "3.1"})
    archive.server.log.clear()
    assert resolve(archive, tmp_path, recipe(), previous=lock) is lock
    assert archive.server.log == []


def test_a_vendors_kernel_takes_the_place_of_the_archives(archive: Archive, tmp_path: Path) -> None:
    plain = resolve(archive, tmp_path, recipe())
    assert (len(plain.images["arm"].groups["kernel"]), plain.images["arm"].kernel) == (1, None)
    own = recipe().model_copy(update={"kernel": Kernel(deb="linux.deb")})
    pin = KernelPin(kind="deb", path="linux.deb", sha256="a" * 64)
    lock = resolve(archive, tmp_path, own, previous=plain, kernel=pin)
    assert lock.images["arm"].kernel == pin
    assert "kernel" not in lock.images["arm"].groups
    assert root(lock) == root(plain)
    assert resolve(archive, tmp_path, own, previous=lock, kernel=pin) is lock
    other = replace(pin, sha256="b" * 64)
    changed = resolve(archive, tmp_path, own, previous=lock, kernel=other)
    assert changed.images["arm"].kernel == other


def test_versions_change_when_they_are_asked_to(archive: Archive, tmp_path: Path) -> None:
    lock = resolve(archive, tmp_path, recipe())
    archive.publish({**PACKAGES, "liba": "3.1", "app": "2:1.1", "extra": "10"})
    changed = resolve(archive, tmp_path, recipe("app", "extra"), previous=lock)
    assert root(changed) == {"app": "2:1.0-1+b1", "liba": "3.0", "setup": "5", "extra": "10"}
    one = resolve(archive, tmp_path, recipe(), previous=lock, update=("liba",))
    assert root(one) == {"app": "2:1.0-1+b1", "liba": "3.1", "setup": "5"}
    every = resolve(archive, tmp_path, recipe(), previous=lock, update=())
    assert root(every) == {"app": "2:1.1", "liba": "3.1", "setup": "5"}


def test_an_unknown_package_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no such package for armhf: aap, noot"):
        resolve(archive, tmp_path, recipe("app", "aap", "noot"))


def test_dependencies_that_cannot_be_met_are_told(archive: Archive, tmp_path: Path) -> None:
    archive.extra["app"] = "Depends: liba (>= 9)\n"
    archive.publish(PACKAGES)
    with pytest.raises(LockError, match=r"app : Depends: liba \(>= 9\)") as caught:
        resolve(archive, tmp_path, recipe())
    assert "apt finds no solution for armhf" in caught.value.message


def test_an_index_out_of_step_names_file_and_digests(archive: Archive, tmp_path: Path) -> None:
    good = archive.server.files[INDEX]
    other = bytes(len(good))
    for served in (good + b"longer", other):
        archive.server.files[INDEX] = served
        with pytest.raises(LockError) as caught:
            resolve(archive, tmp_path, recipe())
        assert INDEX in caught.value.message
        assert hashlib.sha256(good).hexdigest() in caught.value.message
        assert hashlib.sha256(served).hexdigest() in caught.value.message
        assert "--accept-unsigned-index arm" in (caught.value.hint or "")


def test_an_index_out_of_step_can_be_accepted(archive: Archive, tmp_path: Path) -> None:
    signed = archive.server.files[INDEX]
    archive.publish({**PACKAGES, "liba": "3.1"})
    newer = archive.server.files[INDEX]
    archive.publish(PACKAGES)
    assert archive.server.files[INDEX] == signed
    archive.server.files[INDEX] = newer
    lock = resolve(archive, tmp_path, recipe(exclude=("setup",)), accept=("arm",))
    assert root(lock) == {"app": "2:1.0-1+b1", "liba": "3.1"}
    assert lock.images["arm"].unsigned_index
    with pytest.raises(LockError):
        resolve(archive, tmp_path, recipe(), accept=("arm64",))


def test_what_an_unsigned_index_said_stays_marked_while_it_is_kept(
    archive: Archive, tmp_path: Path
) -> None:
    good = archive.server.files[INDEX]
    archive.publish({**PACKAGES, "liba": "3.1"})
    newer = archive.server.files[INDEX]
    archive.publish(PACKAGES)
    archive.server.files[INDEX] = newer
    lock = resolve(archive, tmp_path, recipe(), accept=("arm",))
    archive.server.files[INDEX] = good
    kept = resolve(archive, tmp_path, recipe("app", "extra"), previous=lock)
    assert root(kept)["liba"] == "3.1"
    assert kept.images["arm"].unsigned_index
    renewed = resolve(archive, tmp_path, recipe(), previous=lock, update=())
    assert root(renewed)["liba"] == "3.0"
    assert not renewed.images["arm"].unsigned_index


def test_what_matches_its_signature_is_never_marked(archive: Archive, tmp_path: Path) -> None:
    lock = resolve(archive, tmp_path, recipe(), accept=("arm",))
    assert not lock.images["arm"].unsigned_index


def test_a_foreign_signature_is_refused(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even --accept-unsigned-index takes what somebody else signed."""
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        other = Archive(archive.server, Path(home))
        other.make_key()
        monkeypatch.setattr(apt, "KEYRING", other.keyring)
        with pytest.raises(LockError, match="apt cannot read") as caught:
            resolve(archive, tmp_path, recipe(), accept=("arm",))
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    assert "debian-archive-keyring" in (caught.value.hint or "")


def test_without_a_keyring_the_package_is_named(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "KEYRING", tmp_path / "none.gpg")
    with pytest.raises(LockError, match="keyring is missing") as caught:
        resolve(archive, tmp_path, recipe())
    assert caught.value.hint == "install the package debian-archive-keyring"


def test_a_mirror_without_the_suite_is_passed_over(archive: Archive, tmp_path: Path) -> None:
    env = {
        **archive.env,
        "EDGEIMG_MIRROR": f"{archive.server.url}/none {archive.server.url}/debian",
    }
    lock = locks.resolve(
        recipe(),
        archs=[ARM],
        tools_hosts=[],
        previous=None,
        update=None,
        accept_unsigned=(),
        store=Store(tmp_path),
        env=env,
    )
    assert root(lock)["app"] == "2:1.0-1+b1"
