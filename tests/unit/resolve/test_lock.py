"""What makes a lock stale, and what a new one keeps of the old."""

from __future__ import annotations

import pytest
from edgeimg.arch import ARCHITECTURES
from edgeimg.errors import LockError
from edgeimg.lock.groups import BOOT_PACKAGES, CONTAINER_PACKAGES, INITRD_PACKAGES
from edgeimg.lock.model import ArchLock, ImagePin, Lock, Package
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.resolve import lock
from edgeimg.resolve.requests import digest, verify
from edgeimg.resolve.update import changes
from edgeimg.sources import k3s_release

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there: the size of K3s stays unknown."""
PIN = ImagePin(reference="example.org/db:3", digest=f"sha256:{'ab' * 32}")
PINS = {arch.name: "d" * 64 for arch in ARCHITECTURES}


def recipe(**tables: object) -> Recipe:
    base = {"packages": {"include": ["systemd", "dash"]}, "k3s": {"sha256": PINS}}
    return Recipe.model_validate({**base, **tables})


def package(name: str, version: str = "1", source: str | None = None) -> Package:
    return Package(
        name=name,
        version=version,
        arch="armhf",
        archive="debian",
        path=f"pool/main/x/{source or name}/{name}_{version}.deb",
        size=1,
        sha256=(name + version).encode().hex().ljust(64, "0"),
    )


def lock_of(made_from: Recipe) -> Lock:
    images = {}
    for arch in ARCHITECTURES:
        asset = k3s_release.resolve(
            made_from, arch, previous=None, progress=Silent(), env={"EDGEIMG_K3S_URL": NOWHERE}
        )
        images[arch.name] = ArchLock(
            groups={
                "root": (package("dash"), package("systemd")),
                "boot": tuple(package(name) for name in BOOT_PACKAGES),
                "initrd": tuple(package(name) for name in INITRD_PACKAGES),
                "containers": tuple(package(name) for name in CONTAINER_PACKAGES),
            },
            k3s=asset,
        )
    return Lock(recipe_digest=digest(made_from), suite="trixie", images=images)


def test_a_lock_fits_its_recipe() -> None:
    verify(recipe(), lock_of(recipe()))


@pytest.mark.parametrize(
    "tables",
    [
        {"image": {"id": "other", "version": "9"}},
        {"budget": {"root": "1 MiB"}},
        {"kernel": {"cmdline": ["quiet"]}},
        {"packages": {"include": ["dash", "systemd"], "prune": ["usr/share/*"]}},
        {"k3s": {"sha256": PINS, "config": {"disable": ["traefik"]}}},
    ],
)
def test_what_decides_no_package_does_not_make_it_stale(tables: dict[str, object]) -> None:
    verify(recipe(**tables), lock_of(recipe()))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"packages": {"include": ["systemd", "dash", "nano"]}}, "not locked: nano"),
        ({"packages": {"include": ["systemd"], "exclude": ["dash"]}}, "excluded, but locked: dash"),
        (
            {"packages": {"include": ["systemd", "dash"], "exclude": ["dash"]}},
            "^the lock does not fit the recipe any more: excluded, but locked: dash$",
        ),
        ({"packages": {"include": ["systemd"]}}, "packages were removed"),
        ({"packages": {"suite": "forky", "include": ["systemd", "dash"]}}, "the suite is forky"),
        ({"k3s": {"sha256": PINS, "version": "v1.36.0+k3s1"}}, "K3s is v1.36.0"),
        ({"k3s": {"sha256": {**PINS, "arm": "e" * 64}}}, "another sha256"),
        ({"k3s": {"sha256": PINS, "url": "https://x.example"}}, "from another place"),
        ({"arch": {"arm": {"packages": {"include": ["nano"]}}}}, "not locked: nano"),
        ({"k3s": {"source": "standin"}}, "K3s is v1.35.0"),
        ({"kernel": {"package": "linux-image-rt-armmp"}}, "the lock does not fit"),
    ],
)
def test_what_changed_is_said(tables: dict[str, object], says: str) -> None:
    with pytest.raises(LockError, match=says) as caught:
        verify(recipe(**tables), lock_of(recipe()))
    assert caught.value.hint == "run `edgeimg lock`"


def kept(
    new: list[Package], old: list[Package], update: tuple[str, ...] | None, group: str = "root"
) -> list[str]:
    result = lock.kept({group: tuple(new)}, {group: tuple(old)}, update)[group]
    return [f"{p.name} {p.version}" for p in result]


NEW = [package("a", "2"), package("b", "2"), package("b-lib", "2", "b")]
OLD = [package("a"), package("b"), package("b-lib", "1", "b")]


def test_without_update_locked_versions_stay() -> None:
    assert kept(NEW, OLD, None) == ["a 1", "b 1", "b-lib 1"]


def test_a_full_update_takes_everything_new() -> None:
    assert kept(NEW, OLD, ()) == ["a 2", "b 2", "b-lib 2"]


def test_an_update_of_one_takes_its_whole_source_package() -> None:
    assert kept(NEW, OLD, ("b-lib",)) == ["a 1", "b 2", "b-lib 2"]


def test_a_new_package_takes_what_is_built_with_it() -> None:
    assert kept(NEW, OLD[:2], None) == ["a 1", "b 2", "b-lib 2"]


def test_what_is_not_needed_any_more_goes() -> None:
    assert kept(NEW[:1], OLD, None) == ["a 1"]


def test_a_kernel_stays_though_its_name_has_changed() -> None:
    new = [package("linux-image-6.12.2-armmp", "2", "linux")]
    old = [package("linux-image-6.12.1-armmp", "1", "linux")]
    assert kept(new, old, None, "kernel") == ["linux-image-6.12.1-armmp 1"]
    assert kept(new, old, (), "kernel") == ["linux-image-6.12.2-armmp 2"]
    assert kept(new, [], None, "kernel") == ["linux-image-6.12.2-armmp 2"]
    other = [package("linux-image-6.12.1-rt", "1", "other")]
    assert kept(new, other, None, "kernel") == ["linux-image-6.12.2-armmp 2"]


def test_changes_are_one_line_each() -> None:
    old = lock_of(recipe())
    assert changes(old, old) == []
    image = old.images["arm"]
    groups = {**image.groups, "root": (package("dash", "2"), package("nano"))}
    new = Lock(
        recipe_digest=old.recipe_digest,
        suite=old.suite,
        images={**old.images, "arm": ArchLock(groups=groups, k3s=image.k3s, images={"db": PIN})},
    )
    lines = changes(old, new)
    assert [line.split(":")[0] for line in lines] == [
        "arm image db",
        "arm root dash",
        "arm root nano",
        "arm root systemd",
    ]
    assert lines[0].endswith("new → sha256:abababababab")
    assert "new → 1" in lines[2]
    assert lines[3].endswith("→ removed")
