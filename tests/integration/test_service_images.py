"""Services made of container images: from a real engine, a real registry, and from files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError, DigestError, FetchError, LockError
from edgeimg.lock.model import ImagePin
from edgeimg.progress import Silent
from edgeimg.services.image import Image, load_image
from edgeimg.sources import engine
from edgeimg.sources.oci_archive import open_image
from edgeimg.tree import Tree, directory, file, symlink

from tests.integration import docker_engine
from tests.integration.docker_engine import Registry, archive, members
from tests.samples import elf

pytestmark = pytest.mark.integration
needs_engine = pytest.mark.skipif(
    os.geteuid() != 0 or not docker_engine.programs(),
    reason="needs root, dockerd and docker-registry: apt install docker.io docker-registry",
)


def files(arch=X86_64, text: bytes = b"one\n") -> Tree:
    return Tree().with_nodes(
        {
            "usr/bin/program": file(elf(arch), mode=0o755),
            "etc/version": file(text),
            "etc/passwd": file(b"root:x:0:0::/:/bin/sh\nhttp:x:33:34::/:/bin/sh\n"),
            "bin": symlink("usr/bin"),
        }
    )


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with docker_engine.registry() as running:
        yield running


@pytest.fixture(scope="module")
def docker_host() -> Iterator[str]:
    with docker_engine.engine() as host:
        yield host


@pytest.fixture
def host(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    return docker_host


@needs_engine
def test_each_architecture_gets_its_own_image_by_digest(
    registry: Registry, host: str, tmp_path: Path
) -> None:
    images = {arch: archive("thing:1", files(arch), arch) for arch in ARCHITECTURES}
    index = registry.push("acme/thing", images)
    name = f"{registry.address}/acme/thing:1"
    pins = {}
    for arch in ARCHITECTURES:
        pins[arch] = engine.resolve(name, arch, store=Store(tmp_path / "a"), progress=Silent())
        assert pins[arch].source == f"{registry.address}/acme/thing@{index}"
    assert len({pin.digest for pin in pins.values()}) == 3

    # The tag means something else now; what is locked is still to be had.
    newer = {arch: archive("thing:1", files(arch, b"two\n"), arch) for arch in ARCHITECTURES}
    registry.push("acme/thing", newer)
    for arch, pin in pins.items():
        store = Store(tmp_path / "b")
        path = engine.fetch(pin, arch, store=store, offline=False, progress=Silent())
        made = load_image(path, pin, arch, store=store, origin="service:x")
        assert made.tree["etc/version"].read() == b"one\n"
        assert made.tree["usr/bin/program"].read() == elf(arch)
        assert (made.command, made.user) == (("/usr/bin/program",), (1000, 1000))
        again = engine.fetch(pin, arch, store=store, offline=True, progress=Silent())
        assert again == path
    renewed = engine.resolve(name, ARM, store=Store(tmp_path / "a"), progress=Silent())
    assert renewed.digest != pins[ARM].digest


@needs_engine
def test_an_image_that_was_built_there_needs_no_registry(host: str, tmp_path: Path) -> None:
    client = docker.DockerClient(base_url=host)
    client.images.load(archive("local/built:1", files(), X86_64))
    store = Store(tmp_path)
    pin = engine.resolve("local/built:1", X86_64, store=store, progress=Silent())
    assert pin.source == ""
    fresh = Store(tmp_path / "fresh")
    assert engine.fetch(pin, X86_64, store=fresh, offline=False, progress=Silent())
    client.images.load(archive("local/built:1", files(text=b"two\n"), X86_64))
    # Without a name, but there.
    assert engine.fetch(pin, X86_64, store=Store(tmp_path / "2"), offline=False, progress=Silent())
    client.images.remove(pin.digest)
    with pytest.raises(FetchError, match="another image now") as caught:
        engine.fetch(pin, X86_64, store=Store(tmp_path / "new"), offline=False, progress=Silent())
    assert "lock --update" in (caught.value.hint or "")
    with pytest.raises(ArchitectureError, match="for linux/amd64, expected linux/arm64"):
        engine.resolve("local/built:1", ARM64, store=store, progress=Silent())


@needs_engine
def test_an_image_that_is_nowhere_is_one_error(
    registry: Registry, host: str, tmp_path: Path
) -> None:
    name = f"{registry.address}/acme/nothing:1"
    with pytest.raises(LockError, match=f"cannot pull {name} for linux/amd64"):
        engine.resolve(name, X86_64, store=Store(tmp_path), progress=Silent())
    registry.push("acme/one", {X86_64: archive("one:1", files(), X86_64)})
    with pytest.raises(LockError, match="for linux/arm/v7"):
        engine.resolve(
            f"{registry.address}/acme/one:1", ARM, store=Store(tmp_path), progress=Silent()
        )


def test_without_an_engine_the_way_on_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(LockError, match="no Docker engine") as caught:
        engine.resolve("x:1", X86_64, store=Store(tmp_path), progress=Silent())
    assert "archive =" in (caught.value.hint or "")
    pin = ImagePin(reference="x:1", digest=f"sha256:{'0' * 64}")
    with pytest.raises(FetchError, match="not in the cache"):
        engine.fetch(pin, X86_64, store=Store(tmp_path), offline=True, progress=Silent())


def load(path: Path, store: Store, arch=X86_64) -> Image:
    with open_image(path, arch) as image:
        pin = ImagePin(reference="x", digest=image.digest)
    return load_image(path, pin, arch, store=store, origin="service:x")


def test_files_tars_and_directories_are_the_same_image(tmp_path: Path) -> None:
    data = archive("x:1", files(), X86_64)
    layout, docker_save = tmp_path / "layout.tar", tmp_path / "save.tar"
    layout.write_bytes(data)
    unpacked = tmp_path / "layout"
    for name, content in members(data).items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(content)
    with tarfile.open(docker_save, "w") as tar:
        for name, content in members(data).items():
            if name not in ("index.json", "oci-layout"):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    trees = [load(path, Store(tmp_path / "s")).tree for path in (layout, unpacked, docker_save)]
    assert len({tree.digest() for tree in trees}) == 1
    assert trees[0]["usr/bin/program"].origin == "service:x"


def test_a_user_by_name_is_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for user, numbers in (("http", (33, 34)), ("http:7", (33, 7)), ("5", (5, 0)), ("", (0, 0))):
        path.write_bytes(archive("x:1", files(), X86_64, user=user))
        assert load(path, Store(tmp_path / "s")).user == numbers
    path.write_bytes(archive("x:1", files(), X86_64, user="nobody"))
    with pytest.raises(ArchiveError, match="user 'nobody' is not in its /etc/passwd"):
        load(path, Store(tmp_path / "s"))


def layered(*layers: Tree) -> dict[str, bytes]:
    """The files of a layout with several layers."""
    made = members(archive("x:1", Tree(), X86_64))
    (entry,) = json.loads(made["index.json"])["manifests"]
    manifest = json.loads(made[f"blobs/{entry['digest'].replace(':', '/')}"])
    config = json.loads(made[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    tars = []
    for layer in layers:
        output = io.BytesIO()
        layer.write_tar(output, mtime=0)
        tars.append(output.getvalue())
    config["rootfs"]["diff_ids"] = [digest(data) for data in tars]
    config_data = json.dumps(config).encode()
    manifest["config"] = {"digest": digest(config_data), "size": len(config_data)}
    manifest["layers"] = [{"digest": digest(data), "size": len(data)} for data in tars]
    data = json.dumps(manifest).encode()
    index = {"manifests": [{"digest": digest(data), "size": len(data)}]}
    blobs = {f"blobs/{digest(blob).replace(':', '/')}": blob for blob in (*tars, config_data, data)}
    return {"index.json": json.dumps(index).encode(), **blobs}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write(contents: dict[str, bytes], directory: Path) -> Path:
    for name, content in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def test_whiteouts_remove_what_is_below(tmp_path: Path) -> None:
    below = {"a/one": file(b"1"), "a/two": file(b"2"), "b/x": file(b"x"), "c": file(b"c"),
             "d/inner": file(b"d")}  # fmt: skip
    above = {"a/.wh.one": file(b""), "b/.wh..wh..opq": file(b""), "b/y": file(b"y"),
             "c/now": file(b"directory"), "d": file(b"file")}  # fmt: skip
    layers = [Tree().with_nodes(below), Tree().with_nodes(above)]
    tree = load(write(layered(*layers), tmp_path / "x"), Store(tmp_path / "s")).tree
    assert [path for path, _ in tree.items()] == ["a", "a/two", "b", "b/y", "c", "c/now", "d"]
    assert tree["d"].read() == b"file"


@pytest.mark.parametrize("victim", ["config", "layer", "manifest"])
def test_a_changed_blob_is_refused(tmp_path: Path, victim: str) -> None:
    contents = layered(Tree().with_nodes({"a": file(b"1" * 600), "b": directory()}))
    kinds = {
        name: "layer" if b"ustar" in data else "config" if b"rootfs" in data else "manifest"
        for name, data in contents.items()
        if name.startswith("blobs/")
    }
    (path,) = (name for name, kind in kinds.items() if kind == victim)
    contents[path] = contents[path].replace(b"1", b"2", 1)
    with pytest.raises((DigestError, ArchiveError)):
        load(write(contents, tmp_path / "x"), Store(tmp_path / "s"))


def test_another_image_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(archive("x:1", files(), X86_64))
    pin = ImagePin(reference="x", digest=f"sha256:{'1' * 64}")
    with pytest.raises(DigestError, match="locked is sha256:1111") as caught:
        load_image(path, pin, X86_64, store=Store(tmp_path / "s"), origin="x")
    assert "edgeimg lock" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "data",
    [b"", b"not a tar", archive("x:1", files(), X86_64)[:2000]],
    ids=["empty", "text", "cut"],
)
def test_what_is_no_image_is_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        load(path, Store(tmp_path / "s"))
    with pytest.raises(ArchiveError), open_image(tmp_path / "gone", X86_64):
        pass


def test_an_image_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(archive("x:1", files(ARM64), ARM64))
    with pytest.raises(ArchitectureError, match="linux/amd64, only for linux/arm64"):
        load(path, Store(tmp_path / "s"))
