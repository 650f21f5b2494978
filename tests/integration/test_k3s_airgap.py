"""K3s' air-gap images: locked from a release, and only those of the wanted components taken."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from edgeimg.arch import ARM64, X86_64
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError, FetchError
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.lock.model import ArchLock, Lock
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.sources import k3s_airgap, k3s_release, oci
from edgeimg.sources.oci import ContainerImage
from edgeimg.sources.oci_archive import open_image
from edgeimg.tree import Tree, file

from tests.fake_k3s import VERSION
from tests.integration.fileserver import FileServer
from tests.samples import elf

pytestmark = pytest.mark.integration
FOLDER = "/download/v1.35.0%2Bk3s1"
NAMES = (
    "rancher/klipper-helm:v0.9.12", "rancher/klipper-lb:v0.4.13",
    "rancher/local-path-provisioner:v0.0.32", "rancher/mirrored-coredns-coredns:1.13.1",
    "rancher/mirrored-library-busybox:1.37.0", "rancher/mirrored-library-traefik:3.5.1",
    "rancher/mirrored-metrics-server:v0.8.0", "rancher/mirrored-pause:3.6",
)  # fmt: skip


def saved(arch=X86_64, names=NAMES) -> bytes:
    """As `docker save` writes several images, without an index."""
    images = [
        ContainerImage(
            name=name,
            tree=Tree().with_nodes(
                {"bin/app": file(elf(arch), mode=0o755), "name": file(name.encode())}
            ),
            run={"Entrypoint": ["/bin/app"]},
        )
        for name in names
    ]
    data = oci.archive(images, arch, 0).data
    output = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as whole,
        tarfile.open(fileobj=output, mode="w") as kept,
    ):
        for info in whole:
            if info.name.removeprefix("./") not in ("index.json", "oci-layout"):
                kept.addfile(info, whole.extractfile(info) if info.isfile() else None)
    return output.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        data = zstandard.compress(saved())
        name = "k3s-airgap-images-amd64.tar.zst"
        running.files[f"{FOLDER}/{name}"] = data
        running.files[f"{FOLDER}/sha256sum-amd64.txt"] = (
            f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
        )
        yield running


def recipe(url: str, *components: str) -> Recipe:
    k3s = {"url": f"{url}/download", "version": VERSION, "airgap": components}
    return Recipe.model_validate({"k3s": k3s})


def test_the_archive_is_locked_fetched_and_trimmed(server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = recipe(server.url, "coredns", "local-storage")
    asset = k3s_airgap.resolve(source, X86_64, previous=None, progress=Silent(), env={})
    assert asset is not None
    assert asset.size == len(server.files[f"{FOLDER}/k3s-airgap-images-amd64.tar.zst"])
    blob = k3s_release.fetch_k3s(asset, store, offline=False, progress=Silent(), env={})
    archive = k3s_airgap.unpack(blob, asset.sha256, store)
    wanted = k3s_airgap.select(archive, source.k3s.airgap)
    assert set(wanted) == {
        "docker.io/rancher/mirrored-coredns-coredns:1.13.1",
        "docker.io/rancher/local-path-provisioner:v0.0.32",
        "docker.io/rancher/mirrored-library-busybox:1.37.0",
    }
    for tag in wanted.values():
        with open_image(archive, X86_64, tag) as image:
            assert image.entrypoint == ("/bin/app",)
    tag = wanted["docker.io/rancher/mirrored-coredns-coredns:1.13.1"]
    with pytest.raises(ArchitectureError), open_image(archive, ARM64, tag):
        pass
    # Locked once, the checksum file is not asked again.
    del server.files[f"{FOLDER}/sha256sum-amd64.txt"]
    again = k3s_airgap.resolve(source, X86_64, previous=asset, progress=Silent(), env={})
    assert again == asset
    with pytest.raises(FetchError):
        k3s_airgap.resolve(source, X86_64, previous=None, progress=Silent(), env={})


def test_a_pin_needs_no_checksum_file(server: FileServer) -> None:
    source = recipe(server.url, "coredns")
    del server.files[f"{FOLDER}/sha256sum-amd64.txt"]
    with pytest.raises(FetchError) as caught:
        k3s_airgap.resolve(source, X86_64, previous=None, progress=Silent(), env={})
    assert "[k3s.airgap_sha256]" in (caught.value.hint or "")
    k3s = source.k3s.model_copy(update={"airgap_sha256": {"x86-64": "1" * 64}})
    pinned = source.model_copy(update={"k3s": k3s})
    asset = k3s_airgap.resolve(pinned, X86_64, previous=None, progress=Silent(), env={})
    assert asset is not None
    assert asset.sha256 == "1" * 64


def test_a_recipe_without_components_wants_no_archive() -> None:
    none = Recipe()
    assert k3s_airgap.resolve(none, X86_64, previous=None, progress=Silent(), env={}) is None


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    archive.write_bytes(saved(names=NAMES[:1]))
    with pytest.raises(ArchiveError, match="no rancher/mirrored-library-traefik, which traefik"):
        k3s_airgap.select(archive, ("traefik",))
    archive.write_bytes(b"nothing")
    with pytest.raises(ArchiveError, match="K3s' air-gap archive is no container image"):
        k3s_airgap.select(archive, ("traefik",))


def test_the_lock_file_keeps_it(server: FileServer, tmp_path: Path) -> None:
    source = recipe(server.url, "coredns")
    asset = k3s_airgap.resolve(source, X86_64, previous=None, progress=Silent(), env={})
    images = {"x86-64": ArchLock(groups={}, k3s=None, airgap=asset)}
    written = Lock(recipe_digest="0" * 64, suite="trixie", images=images)
    path = tmp_path / "x.lock.toml"
    write_lock(written, path)
    assert read_lock(path) == written
    assert json.dumps(asset.url if asset else "").endswith('amd64.tar.zst"')
