"""Container images: every digest fits, and equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.errors import ArchitectureError, ArchiveError
from edgeimg.sources.builtin_images import HELLO_PAGE, builtin_images
from edgeimg.sources.deb import Deb
from edgeimg.sources.oci import ContainerImage, ImageConfig, archive
from edgeimg.tree import Tree, file, symlink

from tests.fake_k3s import elf

EPOCH = 1767225600
NAME = "localhost/edgeimg/x:1"
CONFIG = ImageConfig(entrypoint=("/x",), command=("-a",), ports=("80/tcp",), labels=(("k", "v"),))


def compose(tree: Tree, arch: Arch, epoch: int) -> bytes:
    return archive([ContainerImage(name=NAME, tree=tree, run=CONFIG.to_json())], arch, epoch).data


TREE = Tree().with_nodes({"x": file(b"program", mode=0o755), "etc/link": symlink("../x")})


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            info.name.removeprefix("./"): handle.read()
            for info in tar
            if info.isfile() and (handle := tar.extractfile(info))
        }


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    algorithm, _, digest = descriptor["digest"].partition(":")
    data = files[f"blobs/{algorithm}/{digest}"]
    assert hashlib.sha256(data).hexdigest() == digest
    assert len(data) == descriptor["size"]
    return data


@pytest.mark.parametrize(
    ("arch", "platform"),
    [
        (X86_64, {"architecture": "amd64", "os": "linux"}),
        (ARM64, {"architecture": "arm64", "os": "linux"}),
        (ARM, {"architecture": "arm", "os": "linux", "variant": "v7"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_layout_holds_together(arch: Arch, platform: dict[str, str]) -> None:
    files = members(compose(TREE, arch, EPOCH))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["platform"] == platform
    assert entry["annotations"]["io.containerd.image.name"] == NAME
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1"
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    assert {key: config[key] for key in platform} == platform
    assert config["created"] == "2026-01-01T00:00:00Z"
    assert config["config"] == {
        "Entrypoint": ["/x"],
        "Cmd": ["-a"],
        "User": "65534:65534",
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/",
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"k": "v"},
    }
    (layer,) = manifest["layers"]
    data = blob(files, layer)
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [info.name.removeprefix("./") for info in tar] == [".", "etc", "etc/link", "x"]
    (compatible,) = json.loads(files["manifest.json"])
    assert compatible["RepoTags"] == [NAME]
    assert files[compatible["Layers"][0]] == data
    assert json.loads(files[compatible["Config"]]) == config


def test_equal_inputs_give_equal_bytes_and_nothing_else_does() -> None:
    shuffled = Tree(dict(reversed([*((path, TREE[path]) for path, _ in TREE.items())])))
    one = compose(TREE, X86_64, EPOCH)
    assert compose(shuffled, X86_64, EPOCH) == one
    assert compose(TREE, X86_64, EPOCH + 1) != one
    assert compose(TREE, ARM64, EPOCH) != one


def packages(arch: Arch, *, interpreter: bool = False) -> dict[str, Deb]:
    def deb(path: str) -> Deb:
        program = file(elf(arch, path.encode(), interpreter=interpreter), mode=0o755)
        control = {"Package": "p", "Version": "1"}
        return Deb(
            control=control,
            control_text="",
            conffiles=(),
            md5sums="",
            sha256="",
            tree=Tree().with_nodes({path: program}),
        )

    return {"catatonit": deb("usr/bin/catatonit"), "busybox-static": deb("usr/bin/busybox")}


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_builtin_images(arch: Arch) -> None:
    images = {image.name: image for image in builtin_images(arch, packages(arch))}
    assert set(images) == {"localhost/edgeimg/pause:1", "localhost/edgeimg/hello:1"}
    assert images["localhost/edgeimg/hello:1"].tree.read("www/index.html") == HELLO_PAGE
    assert images["localhost/edgeimg/pause:1"].run["Entrypoint"] == ["/catatonit", "-P"]


def test_an_archive_may_hold_several_images() -> None:
    made = archive(builtin_images(ARM, packages(ARM)), ARM, EPOCH)
    files = members(made.data)
    entries = json.loads(files["index.json"])["manifests"]
    named = [entry["annotations"]["io.containerd.image.name"] for entry in entries]
    assert named == ["localhost/edgeimg/pause:1", "localhost/edgeimg/hello:1"] == [*made.digests]
    for entry in entries:
        config = json.loads(blob(files, entry))["config"]
        assert config["digest"] in made.digests.values()


def test_programs_of_another_architecture_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="usr/bin/catatonit of the package catatonit 1"):
        builtin_images(ARM, packages(ARM64))


def test_programs_that_need_libraries_are_refused() -> None:
    with pytest.raises(ArchiveError, match="needs libraries"):
        builtin_images(X86_64, packages(X86_64, interpreter=True))


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ArchiveError, match="is catatonit in the lock"):
        builtin_images(X86_64, {})
