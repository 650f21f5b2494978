"""From a recipe to K3s in a tree, over HTTP, with a release laid out like the real one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, DigestError, FetchError
from edgeimg.lock.model import K3sAsset
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.sources import k3s, k3s_release

from tests.fake_k3s import VERSION, FakeK3s, member
from tests.integration.fileserver import FileServer

pytestmark = pytest.mark.integration
FOLDER = "/download/v1.35.0%2Bk3s1"


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        for arch in ARCHITECTURES:
            name = k3s_release.asset_name(arch)
            fake = FakeK3s(arch)
            noise = random.Random(arch.name).randbytes(600_000)
            fake.extra = [(member("./etc/noise", size=len(noise)), noise)]
            data = fake.binary()
            server.files[f"{FOLDER}/{name}"] = data
            server.files[f"{FOLDER}/sha256sum-{arch.k3s_airgap}.txt"] = (
                f"{'0' * 64}  k3s-airgap-images-{arch.k3s_airgap}.tar.zst\n"
                f"{hashlib.sha256(data).hexdigest()}  {name}\n"
            ).encode()
        yield server


def recipe(url: str, **more: object) -> Recipe:
    return Recipe.model_validate({"k3s": {"url": url, "version": VERSION, **more}})


def resolve(source: Recipe, arch: Arch, **more: object) -> K3sAsset:
    given = {"previous": None, "progress": Silent(), "env": {}, **more}
    asset = k3s_release.resolve(source, arch, **given)  # type: ignore[arg-type]
    assert asset is not None
    return asset


def fetch(asset: K3sAsset, store: Store, env: dict[str, str] | None = None) -> Path:
    return k3s_release.fetch_k3s(asset, store, offline=False, progress=Silent(), env=env or {})


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_release_from_recipe_to_tree(server: FileServer, tmp_path: Path, arch: Arch) -> None:
    """Unpinned: locked on trust, which is said; downloaded through a redirect; unpacked."""
    store, notes = Store(tmp_path), Notes()
    asset = resolve(recipe(f"{server.url}/download"), arch, progress=notes)
    path = f"{FOLDER}/{k3s_release.asset_name(arch)}"
    assert asset.url == server.url + path
    assert asset.size == len(server.files[path])
    assert asset.sha256 in notes.notes[0]
    assert "on trust" in notes.notes[0]
    server.files["/objects/1"] = server.files[path]
    server.faults[path] = ["/objects/1"]
    binary = fetch(asset, store)
    bundle = k3s.unpack(binary, arch, store, source="release", version=asset.version)
    assert (bundle.version, bundle.sha256, bundle.standin) == (VERSION, asset.sha256, False)
    assert "usr/bin/k3s" in bundle.tree


def test_a_pin_needs_no_checksum_file(server: FileServer) -> None:
    source = recipe(f"{server.url}/download", sha256={"arm64": "b" * 64})
    notes = Notes()
    assert resolve(source, ARM64, progress=notes).sha256 == "b" * 64
    assert notes.notes == []
    assert not [path for path, _ in server.log if "sha256sum" in path]


def test_what_was_trusted_once_is_kept(server: FileServer) -> None:
    source = recipe(f"{server.url}/download")
    old = K3sAsset(version=VERSION, url="x", size=7, sha256="c" * 64)
    kept = resolve(source, ARM64, previous=old)
    assert (kept.sha256, kept.size) == (old.sha256, 7)
    assert server.log == []


def test_another_source_without_a_pin_locks_nothing() -> None:
    source = recipe("http://127.0.0.1:9", source="standin")
    assert k3s_release.resolve(source, ARM, previous=None, progress=Silent(), env={}) is None


def test_a_mirror_is_not_written_into_the_lock(server: FileServer, tmp_path: Path) -> None:
    source = recipe("http://127.0.0.1:9/download")
    env = {"EDGEIMG_K3S_URL": f"http://127.0.0.1:9 {server.url}/download"}
    asset = resolve(source, X86_64, env=env)
    assert asset.url == "http://127.0.0.1:9/download/v1.35.0%2Bk3s1/k3s"
    assert asset.size == len(server.files[f"{FOLDER}/k3s"])
    assert fetch(asset, Store(tmp_path), env).read_bytes() == server.files[f"{FOLDER}/k3s"]


def test_a_broken_transfer_is_continued(server: FileServer, tmp_path: Path) -> None:
    asset = resolve(recipe(f"{server.url}/download"), ARM)
    path = f"{FOLDER}/k3s-armhf"
    server.faults[path] = ["truncate"]
    assert fetch(asset, Store(tmp_path)).read_bytes() == server.files[path]
    assert any(asked == path and part for asked, part in server.log), "continued, not begun anew"


def test_a_truncated_release(server: FileServer, tmp_path: Path) -> None:
    asset = resolve(recipe(f"{server.url}/download"), ARM)
    path = f"{FOLDER}/k3s-armhf"
    server.files[path] = server.files[path][:-1]
    with pytest.raises((FetchError, DigestError)):
        fetch(asset, Store(tmp_path))
    assert not Store(tmp_path).has_blob(asset.sha256)


def test_a_tampered_release(server: FileServer, tmp_path: Path) -> None:
    asset = resolve(recipe(f"{server.url}/download"), ARM)
    path = f"{FOLDER}/k3s-armhf"
    data = bytearray(server.files[path])
    data[len(data) // 2] ^= 1
    server.files[path] = bytes(data)
    with pytest.raises(DigestError) as caught:
        fetch(asset, Store(tmp_path))
    assert asset.sha256 in caught.value.message
    assert "[k3s.sha256]" in (caught.value.hint or "")
    assert not Store(tmp_path).has_blob(asset.sha256)


def test_the_wrong_file_under_the_right_name(server: FileServer, tmp_path: Path) -> None:
    """Somebody's mirror, and pins, hold the arm64 binary as the x86-64 one."""
    data = server.files[f"{FOLDER}/k3s"] = server.files[f"{FOLDER}/k3s-arm64"]
    pins = {"x86-64": hashlib.sha256(data).hexdigest()}
    store = Store(tmp_path)
    binary = fetch(resolve(recipe(f"{server.url}/download", sha256=pins), X86_64), store)
    with pytest.raises(ArchitectureError, match="arm64, but the image is for x86-64"):
        k3s.unpack(binary, X86_64, store, source="release", version=VERSION)


@pytest.mark.parametrize("missing", ["the server", "the release"])
def test_unreachable_releases_leave_three_ways_on(
    server: FileServer, tmp_path: Path, missing: str
) -> None:
    base = "http://127.0.0.1:9" if missing == "the server" else f"{server.url}/elsewhere"
    asset = K3sAsset(
        version=VERSION,
        url=k3s_release.asset_url(base, VERSION, "k3s"),
        size=None,
        sha256="d" * 64,
    )
    with pytest.raises(FetchError) as caught:
        fetch(asset, Store(tmp_path))
    with pytest.raises(FetchError) as unpinned:
        resolve(recipe(base), X86_64)
    for error in (caught.value, unpinned.value):
        for way in ("EDGEIMG_K3S_URL", "--k3s PATH", "--k3s standin"):
            assert way in (error.hint or "")


def test_offline_says_so(tmp_path: Path) -> None:
    asset = K3sAsset(version=VERSION, url="http://127.0.0.1:9/k3s", size=1, sha256="d" * 64)
    with pytest.raises(FetchError, match="offline"):
        k3s_release.fetch_k3s(asset, Store(tmp_path), offline=True, progress=Silent(), env={})
