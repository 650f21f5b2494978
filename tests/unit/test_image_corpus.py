"""Container images that other tools wrote: each is read, and all hold the same files.

tests/cases/images.sh makes them: docker 20.10 and 26.1, skopeo 1.9 and 1.18, buildah 1.28 and 1.39,
podman 4.3 and 5.4, umoci 0.4.7, crane 0.20.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from edgeimg.arch import ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError
from edgeimg.services import image
from edgeimg.sources.oci_archive import open_image, tags
from edgeimg.tree import Kind

INPUTS = Path(__file__).parents[1] / "cases/images.tar.xz"
SYSTEMS = ("debian12", "debian13")
READ = [
    *(f"{system}/{name}" for system in SYSTEMS for name in (
        "buildah-docker.tar", "buildah-index", "buildah-layers.tar", "buildah-oci",
        "buildah-v2s2.tar", "docker-commit.tar", "docker-save-by-id.tar",
        "docker-save-two-tags.tar", "docker-save.tar",
        "docker-save.tar.gz", "podman-oci-archive.tar", "podman-oci-dir", "podman-save.tar",
        "skopeo-docker-archive.tar", "skopeo-from-docker", "skopeo-oci-archive.tar", "skopeo-zstd",
        "skopeo-zstd-chunked",
    )),
    "crane/legacy.tar", "crane/oci", "crane/tarball.tar",
]  # fmt: skip
REFUSED = {
    "docker-export.tar": ("neither index.json nor manifest.json", "docker save"),
    "podman-several.tar": ("localhost/corpus:1", "to its own file"),
    "skopeo-dir": ("the manifest of one image", "skopeo copy dir:"),
    "umoci": ("holds 3 images", "to its own file"),
}
LAYERS = {"buildah-layers.tar": 2, "docker": 2, "skopeo-from-docker": 2, "crane": 2}
"""By the beginning of the name; buildah writes one layer for a whole Containerfile."""
CAPABILITY = bytes.fromhex("0100000280200000000000000000000000000000")
"""cap_net_raw and cap_setuid, effective (linux/capability.h, vfs_cap_data version 2)."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images")
    with tarfile.open(INPUTS) as archive:
        archive.extractall(directory, filter="data")
    return directory


def opened(path: Path, directory: Path, arch: Arch = X86_64) -> image.Image:
    with open_image(path, arch) as found:
        return image.described(found, Store(directory / "store"), "x")


def test_every_input_is_in_a_table(inputs: Path) -> None:
    found = {str(path.relative_to(inputs)) for path in inputs.glob("*/*")}
    assert found == {*READ, *(f"{system}/{name}" for system in SYSTEMS for name in REFUSED)}


@pytest.mark.parametrize("name", READ)
def test_it_is_read(inputs: Path, tmp_path: Path, name: str) -> None:
    found = opened(inputs / name, tmp_path)
    tree = found.tree
    files = {path: node.mode for path, node in tree.items() if node.kind is Kind.FILE}
    if "etc/hostname" in files:  # buildah leaves an empty one
        assert tree.read("etc/hostname") == b""
        del files["etc/hostname"]
    assert files == {
        "bin/app": 0o755, "bin/hard": 0o755, "bin/ping": 0o755, "etc/os-release": 0o644,
        "usr/share/größe/x": 0o644,
    }  # fmt: skip
    assert tree.read("bin/app") == tree.read("bin/hard") == tree.read("bin/ping")
    assert tree.read("bin/app")[:4] == b"\x7fELF"
    assert tree.read("usr/share/größe/x") == b"x" * 5000
    nodes = dict(tree.items())
    assert nodes["bin/soft"].target == "app"
    assert dict(nodes["bin/ping"].xattrs) == {"security.capability": CAPABILITY}
    assert (nodes["usr/share/größe/x"].uid, nodes["usr/share/größe/x"].gid) == (1000, 1000)
    assert (nodes["empty"].kind, nodes["srv"].mode) == (Kind.DIRECTORY, 0o1777)


@pytest.mark.parametrize("name", READ)
def test_its_configuration_is_read(inputs: Path, name: str) -> None:
    with open_image(inputs / name, X86_64) as found:
        assert found.entrypoint == ("/bin/app",)
        assert (found.command, found.workdir, found.user) == ((), "/srv", "1000:1000")
        assert found.environment["GREETING"] == "good morning"
        assert found.environment["PATH"] == "/bin"
        kind = name if name.startswith("crane") else name.partition("/")[2]
        assert len(found.layers) == next(
            (count for begin, count in LAYERS.items() if kind.startswith(begin)), 1
        )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_words(inputs: Path, tmp_path: Path, system: str, name: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        opened(inputs / system / name, tmp_path)
    words, hint = REFUSED[name]
    assert words in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("name", ["docker-save.tar", "buildah-oci", "podman-save.tar"])
def test_it_is_not_for_another_architecture(inputs: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchitectureError, match="linux/amd64"):
        opened(inputs / "debian13" / name, tmp_path, ARM64)


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_of_several_is_selected_by_its_tag(inputs: Path, tmp_path: Path, system: str) -> None:
    path = inputs / system / "podman-several.tar"
    names = ["localhost/corpus:1", "localhost/corpus:layers"]
    assert sorted(tags(path)) == names
    for count, name in enumerate(names, 1):
        with open_image(path, X86_64, tag=name) as found:
            assert (found.name, len(found.layers)) == (name, count)
    two = inputs / system / "docker-save-two-tags.tar"
    assert sorted(tags(two)) == ["corpus:1", "registry.example.org/corpus:two"]
