"""The lock file: read back as written, the same text every time, and malformed ones named."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.errors import LockError
from edgeimg.lock.file import encode_lock, read_lock, write_lock
from edgeimg.lock.model import ArchLock, ImagePin, K3sAsset, KernelPin, Lock, Package

PROJECT = Path(__file__).parents[3]
PIN = ImagePin(reference="example.org/db:3", digest=f"sha256:{'d' * 64}")
BUILT = ImagePin(reference="images/db.tar", digest=f"sha256:{'e' * 64}")
GROUPS = {
    "root", "kernel", "boot", "initrd", "containers", "services", "service:ssh", "service:health",
}  # fmt: skip
SHA256 = "a" * 64


def package(name: str, **changes: object) -> Package:
    facts = {
        "name": name,
        "version": "2:1.0+dfsg-1~deb13u1",
        "arch": "arm64",
        "archive": "debian",
        "path": f"pool/main/{name[0]}/{name}/{name}_1.0+dfsg-1~deb13u1_arm64.deb",
        "size": 1234,
        "sha256": SHA256,
    }
    return Package(**{**facts, **changes})  # type: ignore[arg-type]


def sample() -> Lock:
    k3s = K3sAsset(version="v1.35.0+k3s1", url="https://example.org/k3s", size=7, sha256="b" * 64)
    packages = (package("apt"), package("libstdc++6"), package("zlib1g", archive="debian-security"))
    return Lock(
        recipe_digest="c" * 64,
        suite="trixie",
        images={
            "arm64": ArchLock(
                groups={"root": packages, "kernel": packages[:1]},
                k3s=k3s,
                images={"db": replace(PIN, source=f"example.org/db@sha256:{'f' * 64}"), "x": BUILT},
            ),
            "arm": ArchLock(groups={"root": packages}, k3s=None, unsigned_index=True),
        },
        tools={"pack": {"x86-64": packages, "arm64": ()}},
    )


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.lock.toml"
    assert write_lock(sample(), path)
    assert read_lock(path) == sample()
    assert not write_lock(sample(), path)
    assert [entry.name for entry in path.parent.iterdir()] == ["x.lock.toml"]


def test_the_size_of_k3s_may_be_unknown(tmp_path: Path) -> None:
    asset = K3sAsset(version="v1", url="https://example.org/k3s", size=None, sha256=SHA256)
    lock = Lock(
        recipe_digest=SHA256, suite="trixie", images={"arm": ArchLock(groups={}, k3s=asset)}
    )
    write_lock(lock, tmp_path / "lock")
    assert read_lock(tmp_path / "lock") == lock
    assert "size" not in (tmp_path / "lock").read_text()


def test_order_does_not_change_the_text() -> None:
    lock = sample()
    shuffled = list(lock.images["arm"].groups["root"])
    random.Random(1).shuffle(shuffled)
    other = Lock(
        recipe_digest=lock.recipe_digest,
        suite=lock.suite,
        images={
            "arm": ArchLock(groups={"root": tuple(shuffled)}, k3s=None, unsigned_index=True),
            "arm64": lock.images["arm64"],
        },
        tools=lock.tools,
    )
    assert encode_lock(other) == encode_lock(lock)


def test_a_package_is_one_line() -> None:
    lines = [line for line in encode_lock(sample()).splitlines() if "pool/" in line]
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 1", "format = 2", "format is 2, this edgeimg reads 1"),
        ("format = 1\n", "", "format is missing"),
        ("format = 1\n", "format = 1\nextra = 1\n", "extra: unknown key"),
        (f'recipe = "{"c" * 64}"', 'recipe = "c"', "recipe: expected"),
        (f'recipe = "{"c" * 64}"', "recipe = 7", "recipe: expected"),
        ("[image.arm64.k3s]", "[image.mips.k3s]", "image.mips: no such architecture"),
        ("[tools.pack.arm64]", "[tools.pack.vax]", "tools.pack.vax: no such architecture"),
        ("size = 7", "size = -7", "image.arm64.k3s.size: expected a number of bytes"),
        ("size = 7", "size = true", "image.arm64.k3s.size: expected a number of bytes"),
        ('url = "https', 'url = "ftp', "image.arm64.k3s.url: expected"),
        ("unsigned_index = true", 'unsigned_index = "no"', "image.arm.unsigned_index: expected"),
        ("apt = ", "apt = 1\nx = ", "packages.root.apt: expected 'VERSION ARCH"),
        (" 1234 ", " many ", "expected 'VERSION ARCH"),
        ("pool/main/a/", "../../a/", "expected 'VERSION ARCH"),
        ("pool/main/a/", "pool/../main/a/", "expected 'VERSION ARCH"),
        ("pool/main/a/", "https://example.org/pool/", "expected 'VERSION ARCH"),
        (SHA256, SHA256[:-1], "expected 'VERSION ARCH"),
        ("apt = ", '"../apt" = ', "expected 'VERSION ARCH"),
        ("[image.arm.packages.root]", "[image.arm.packages]\nroot = 3\n[x]", "x: unknown key"),
        (f'"sha256:{"d" * 64} ', '"sha256:d ', "image.arm64.images.db: expected 'sha256:"),
        ("example.org/db@", "example.org/db", "image.arm64.images.db: expected 'sha256:"),
        ("suite =", "suite ==", "cannot read"),
    ],
)
def test_a_malformed_lock_is_one_clear_error(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = encode_lock(sample())
    assert old in text
    (tmp_path / "lock").write_text(text.replace(old, new))
    with pytest.raises(LockError) as caught:
        read_lock(tmp_path / "lock")
    assert says in caught.value.message
    assert caught.value.hint


def load_changed(tmp_path: Path, old: str, new: str) -> Lock:
    text = encode_lock(sample())
    assert old in text
    (tmp_path / "lock").write_text(text.replace(old, new, 1))
    return read_lock(tmp_path / "lock")


APT = "pool/main/a/apt/apt_1.0+dfsg-1~deb13u1_arm64.deb"
STDC = "pool/main/l/libstdc++6/libstdc++6_1.0+dfsg-1~deb13u1_arm64.deb"
BOUNDS = [
    ("pool/main/a/", "pool//main/a/", "expected 'VERSION ARCH"),
    ("pool/main/a/", "pool/./main/a/", "expected 'VERSION ARCH"),
    ("pool/main/a/", "pool/main/a\\u001b/", "expected 'VERSION ARCH"),
    ("pool/main/a/", "pool/main/a\\n/", "expected 'VERSION ARCH"),
    (" arm64 debian ", " riscv64 debian ", "no such architecture: 'riscv64'"),
    (" arm64 debian ", " any debian ", "no such architecture: 'any'"),
    (" 1234 ", " 0 ", "expected 1 to 4294967296 bytes, found 0"),
    (" 1234 ", " 4294967297 ", "expected 1 to 4294967296 bytes, found 4294967297"),
    (" 1234 ", f" {'9' * 5000} ", "expected 'VERSION ARCH"),
    (" 1234 ", " \u0661 ", "expected 'VERSION ARCH"),
    ("size = 7", "size = 0", "k3s.size: expected a number of bytes"),
    ("size = 7", "size = 4294967297", "k3s.size: expected a number of bytes"),
    ("size = 7", f"size = {'7' * 5000}", "cannot read"),
    ("size = 7", f"size = {'[' * 5000}", "cannot read"),
    ("https://example.org/k3s", "https://example.org/\\u001b[31m", "k3s.url: expected"),
    ("https://example.org/k3s", "https:///k3s", "k3s.url: expected"),
    ("images/db.tar", "images/\\u009b31m", "images.x: expected 'sha256:"),
    ("\nx = ", '\n"../../x" = ', "images.../../x: '../../x' is not a name"),
    ("\nx = ", '\n"/x" = ', "is not a name"),
    ("\nx = ", '\n"\\u001b" = ', "expected"),
    ("packages.kernel]", 'packages."../../root"]', "packages.../../root: expected"),
    ("packages.kernel]", 'packages."service:../x"]', "'../x' is not a name"),
    ("packages.kernel]", 'packages."image:a//b"]', "'a//b' is not a name"),
    ("packages.kernel]", 'packages."Root\\u0007"]', "packages.Root"),
    ("[tools.pack.x86-64]", '[tools."../pack".x86-64]', "tools.../pack: expected"),
    (APT, STDC, f"{STDC} is apt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("deb", "vendor/x.deb", ""),
        ("files", "vendor/x y", ""),
        ("image", "x", "image.arm.kernel.deb is missing"),
        ("deb", "/etc/x.deb", "image.arm.kernel.deb: expected"),
        ("files", "", "image.arm.kernel.files: expected"),
        ("deb", "a\\u009bb", "image.arm.kernel.deb: expected"),
        ("deb", 'a"\nfiles = "b', "image.arm.kernel.deb: unknown key"),
        ("deb", 'a"\nsize = "b', "image.arm.kernel.size: unknown key"),
    ],
)
def test_a_vendors_kernel(tmp_path: Path, kind: str, path: str, message: str) -> None:
    pin = KernelPin(kind="deb", path="here", sha256=SHA256)
    image = ArchLock(groups={}, k3s=None, kernel=pin)
    text = encode_lock(Lock(recipe_digest=SHA256, suite="trixie", images={"arm": image}))
    place = tmp_path / "lock"
    place.write_text(text.replace('deb = "here"', f'{kind} = "{path}"'))
    if not message:
        assert read_lock(place).images["arm"].kernel == replace(pin, kind=kind, path=path)  # type: ignore[arg-type]
        return
    with pytest.raises(LockError) as caught:
        read_lock(place)
    assert message in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("old", "new", "message"), BOUNDS)
def test_rows_out_of_bounds_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(LockError) as caught:
        load_changed(tmp_path, old, new)
    assert message in caught.value.message
    assert caught.value.message.isprintable() or "\n" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size = 7", "size = 4294967296"),
        ("example.org/k3s", "[::1]:8443/k3s%2Bk3s1/k3s"),
        ("images/db.tar", "images/ü/db.tar"),
        ("packages.kernel]", 'packages."service:ssh"]'),
        ("packages.kernel]", 'packages."image:localhost:5000/a_b/c.d:1.0-rc1"]'),
        ("\nx = ", '\n"registry.example.org/a/b@sha256:abc" = '),
    ],
)
def test_what_is_just_within_the_bounds_is_read(tmp_path: Path, old: str, new: str) -> None:
    assert load_changed(tmp_path, old, new) != sample()


@pytest.mark.parametrize(
    "other",
    [
        package("dpkg", path=package("apt").path),
        package("apt", version="9"),
        package("apt", size=1235),
        package("apt", sha256="b" * 64),
    ],
)
def test_a_file_is_one_package_in_all_rows(tmp_path: Path, other: Package) -> None:
    """Also across architectures and groups: `Architecture: all` is in several of them."""
    for tools in (package("apt"), other):
        lock = replace(sample(), tools={"go": {"arm64": (tools,)}})
        write_lock(lock, tmp_path / "lock")
        if tools == package("apt"):
            assert read_lock(tmp_path / "lock") == lock
        else:
            with pytest.raises(LockError, match="in one row and"):
                read_lock(tmp_path / "lock")


def test_k3s_and_its_images_are_two_files(tmp_path: Path) -> None:
    k3s = K3sAsset(version="v1", url="https://example.org/k3s", size=7, sha256=SHA256)
    for sha256, refused in (("b" * 64, False), (SHA256, True)):
        image = ArchLock(groups={}, k3s=k3s, airgap=replace(k3s, sha256=sha256))
        lock = Lock(recipe_digest=SHA256, suite="trixie", images={"arm": image})
        write_lock(lock, tmp_path / "lock")
        if refused:
            with pytest.raises(LockError, match="k3s and airgap are one file"):
                read_lock(tmp_path / "lock")
        else:
            assert read_lock(tmp_path / "lock") == lock


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path) -> None:
    text = encode_lock(sample())
    dice = random.Random(7)
    for _ in range(300):
        at, length = dice.randrange(len(text)), dice.randrange(40)
        junk = "".join(dice.choices('abc=[]".{}\n\0\\u#1é', k=dice.randrange(10)))
        (tmp_path / "lock").write_text(text[:at] + junk + text[at + length :])
        try:
            read_lock(tmp_path / "lock")
        except LockError as error:
            assert error.hint


def test_a_lock_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="there is no"):
        read_lock(tmp_path / "lock")
    (tmp_path / "lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LockError, match="cannot read"):
        read_lock(tmp_path / "lock")


def test_the_default_lock_holds_every_architecture_and_no_host_name() -> None:
    path = PROJECT / "recipes/gateway.lock.toml"
    lock = read_lock(path)
    assert set(lock.images) == {"x86-64", "arm64", "arm"}
    for image in lock.images.values():
        assert set(image.groups) == GROUPS
        assert all(image.groups.values())
    assert all(set(hosts) == {"x86-64", "arm64"} for hosts in lock.tools.values())
    text = path.read_text()
    assert text == encode_lock(lock)
    assert [line for line in text.splitlines() if "://" in line and "github.com" not in line] == []
