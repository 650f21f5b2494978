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
from edgeimg.errors import ArchitectureError, ArchiveError, LockError
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.services import image
from edgeimg.sources import container_images
from edgeimg.sources.oci_archive import open_image, tags
from edgeimg.tree import Kind
from pydantic import ValidationError

INPUTS = Path(__file__).parents[2] / "cases/images.tar.xz"
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
    "podman-several.tar": ("localhost/corpus:layers", 'archive = "podman-several.tar:1"'),
    "skopeo-dir": ("the manifest of one image", "skopeo copy dir:"),
    "umoci": ("holds 3 images, expected one: 1 (sha256:", 'archive = "umoci:1"'),
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


def parse(archive: str) -> Recipe:
    return Recipe.model_validate({"services": {"x": {"archive": archive}}})


def opened(path: Path, directory: Path, arch: Arch = X86_64) -> image.Image:
    with open_image(path, arch) as found:
        return image.read_described(found, Store(directory / "store"), "x")


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
@pytest.mark.parametrize(
    ("archive", "layers"),
    [
        ("umoci:1", 1), ("umoci:2", 2), ("umoci:3", 2), ("podman-several.tar:1", 1),
        ("podman-several.tar:layers", 2), ("podman-several.tar:localhost/corpus:layers", 2),
        ("docker-save-two-tags.tar:corpus:1", 2),
        ("docker-save-two-tags.tar:docker.io/library/corpus:1", 2),
        ("docker-save-two-tags.tar:two", 2), ("buildah-index:list", 1),
    ],
)  # fmt: skip
def test_a_recipe_names_the_tag_behind_the_file(
    inputs: Path, tmp_path: Path, system: str, archive: str, layers: int
) -> None:
    recipe = parse(archive)
    store = Store(tmp_path / "store")
    options = {"project": inputs / system, "store": store, "progress": Silent()}
    pins = container_images.resolve(recipe, X86_64, None, None, **options)
    assert pins["x"].reference == archive
    path = container_images.path(
        "x", recipe.services["x"], pins["x"], X86_64, offline=True, **options
    )
    file, _, tag = archive.partition(":")
    assert path == inputs / system / file
    with open_image(path, X86_64, tag) as found:
        assert (found.digest, len(found.layers)) == (pins["x"].digest, layers)
    assert (
        "bin/app"
        in image.load_image(path, pins["x"], X86_64, store=store, origin="x", tag=tag).tree
    )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("archive", "names"),
    [
        ("umoci:4", "has no image '4': it has 1, 2, 3"),
        ("umoci:corpus:1", "has no image 'corpus:1': it has 1, 2, 3"),
        ("podman-several.tar:latest", "it has localhost/corpus:1, localhost/corpus:layers"),
        ("docker-save-by-id.tar:1", "its images have no names"),
    ],
)
def test_a_tag_that_is_not_there(inputs: Path, system: str, archive: str, names: str) -> None:
    file, _, tag = archive.partition(":")
    with pytest.raises(ArchiveError) as caught, open_image(inputs / system / file, X86_64, tag):
        pass
    assert names in caught.value.message


@pytest.mark.parametrize("archive", ["x.tar:", ":1", "x.tar: 1", "x.tar:-"])
def test_what_is_no_file_and_tag(archive: str) -> None:
    assert parse("x.tar").services["x"].image_tag("arm") == ""
    with pytest.raises(ValidationError, match="expected a file, or FILE:TAG"):
        parse(archive)


def test_a_file_with_a_colon_in_its_name_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a:1.tar").touch()
    options = {"project": tmp_path, "store": Store(tmp_path / "store"), "progress": Silent()}
    with pytest.raises(LockError) as caught:
        container_images.resolve(parse("a:1.tar"), X86_64, None, None, **options)
    assert "the tag of an image in the file: 1.tar" in str(caught.value.hint)


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
