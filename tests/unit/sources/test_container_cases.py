"""Container images, packages and manifests as other tools write them: what comes of each.

The inputs are tests/cases/containers.tar.xz; the README of each directory names its sources. It is
made again as settings.tar.xz is (test_settings_cases.py).
"""

from __future__ import annotations

import hashlib
import tarfile
import tomllib
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError, EdgeimgError, RecipeError
from edgeimg.recipe.model import Recipe
from edgeimg.services import image
from edgeimg.sources import deb
from edgeimg.sources.oci_archive import open_image
from edgeimg.tree import Kind, Node, Tree, file
from edgeimg.workloads import kinds, manifests
from edgeimg.workloads.manifests import Manifests

INPUTS = Path(__file__).parents[2] / "cases/containers.tar.xz"

LONG = "/".join(("a" * 90, "b" * 120, "c" * 100))
PLAIN = "docker.io/library/plain:1"
AB = ("opt/a 644", "opt/b 644")
CAPABILITY = "bin/tool 755 security.capability="

IMAGES: dict[str, tuple[str, ...]] = {
    "01-estargz-zstd-chunked/estargz-several-gzip-members": AB,
    "01-estargz-zstd-chunked/gzip-padded-with-zeros": AB,
    "01-estargz-zstd-chunked/one-gzip-member": AB,
    "01-estargz-zstd-chunked/one-zstd-frame": AB,
    "01-estargz-zstd-chunked/zstdchunked-frames-and-a-skippable-frame": AB,
    "02-kaniko-absolute-paths/absolute-hard-link-target": (
        "usr/bin/perlbug 644",
        "usr/bin/perlthanks 644",
    ),
    "02-kaniko-absolute-paths/absolute-member-names": ("opt/a 644",),
    "02-kaniko-absolute-paths/entry-dot-slash-hard-link-to-dot": ("l -> nowhere",),
    "02-kaniko-absolute-paths/entry-for-slash-itself": ("opt/a 644",),
    "03-hard-links/target-comes-later-in-the-tar": ("y 644", "z 644"),
    "03-hard-links/to-a-file-of-a-lower-layer": ("bin/app2 755",),
    "03-hard-links/two-names-one-replaced-above": ("a 644", "b 644"),
    "04-binary-xattrs/cap_net_bind_service": (
        f"{CAPABILITY}0100000200040000000000000000000000000000",
    ),
    "04-binary-xattrs/cap_net_raw-cap_setuid": (
        f"{CAPABILITY}01000002a5a5a5a5000000000000000000000000",
    ),
    "04-binary-xattrs/cap_sys_admin": (f"{CAPABILITY}0100000200002000000000000000000000000000",),
    "04-binary-xattrs/security.ima": ("bin/tool 755 security.ima=030204fffe8081",),
    "04-binary-xattrs/user.overlay.opaque": ("bin/tool 755 user.overlay.opaque=79",),
    "05-platforms/amd64-and-v3": (),
    "06-index-entries/attestation-annotated": (),
    "06-index-entries/attestation-bare": (),
    "06-index-entries/nested": (),
    "06-index-entries/oci-referrer": (),
    "06-index-entries/two-tags-one-image": (),
    "07-docker-save/empty-layer.tar": (),
    "07-docker-save/image.tar.zst": AB,
    "07-docker-save/links.tar": AB,
    "07-docker-save/untagged.tar": (),
    "08-layers/UTF-8-names": ("größe/日本 644",),
    "08-layers/a-fifo": ("left out: run/initctl",),
    "08-layers/device-nodes": ("left out: dev/console", "left out: dev/null"),
    "08-layers/file-below-a-symlink-of-a-lower-layer": (
        "lib -> usr/lib",
        "usr/lib/firmware/x.bin 644",
    ),
    "08-layers/lib--directory-over-symlink-lib": ("lib/x 644", "usr/lib/l.so 644"),
    "08-layers/long-path": (f"{LONG} 644",),
    "08-layers/no-end-of-archive-blocks": ("x 644",),
    "08-layers/same-directory-twice-other-mode": ("srv/x 644",),
    "08-layers/same-file-twice-last-wins": ("srv/x 644",),
    "08-layers/uid-4294967294": ("x 644",),
    "08-layers/whiteout-and-its-file-in-one-layer": (),
}
"""Files beyond /bin/app and /etc/os-release."""

CONTENTS = {
    ("03-hard-links/two-names-one-replaced-above", "a"): b"2",
    ("03-hard-links/two-names-one-replaced-above", "b"): b"1",
    ("08-layers/same-file-twice-last-wins", "srv/x"): b"2",
    ("08-layers/whiteout-and-its-file-in-one-layer", "etc/os-release"): b"ID=y\n",
}

OTHERS: list[tuple[str, Arch, str]] = [
    ("05-platforms/amd64-v2-only", X86_64, "only for linux/amd64/v2"),
    ("05-platforms/arm-v6-and-v7", ARM, ""),
    ("05-platforms/arm-v6-only", ARM, ""),
    ("05-platforms/arm-v6-only", X86_64, "only for linux/arm/v6"),
    ("05-platforms/arm64-v8", ARM64, ""),
    ("05-platforms/riscv-only", ARM64, "only for linux/riscv64"),
    ("06-index-entries/empty-index", X86_64, "it holds no image"),
    ("06-index-entries/nested", ARM64, ""),
    ("06-index-entries/nested", ARM, "only for linux/amd64, linux/arm64"),
    ("07-docker-save/export.tar", X86_64, "neither index.json nor manifest.json"),
    ("07-docker-save/links.tar", ARM, "is for linux/amd64, expected linux/arm/v7"),
    ("08-layers/non-UTF-8-name", X86_64, "is not UTF-8 text"),
]
"""What an architecture gets: nothing, or the reason why it is refused."""

DEBS = {
    "long-path-250-GNU-@LongLink.deb": ("a" * 120 + "/" + "b" * 130 + " 644",),
    "conffiles-with-flags.deb": ("etc/a.conf 644", "etc/with space.conf 644"),
    "hard-links.deb": ("usr/a 644", "usr/b 644"),
    "mtime-beyond-2038-negative.deb": ("a 644", "b 644"),
    "no-.--prefix.deb": ("usr/x 644",),
    "pax-headers-in-data.deb": ("usr/größe 644",),
    "setuid-and-sticky.deb": ("usr/s 4755",),
    "usrmerge-aliases--lib.deb": ("lib/systemd/a.service 644",),
    "empty-data.tar.deb": (),
}
"""Files of a package; of all others usr/bin/demo."""
BAD_DEBS = {
    "duplicate-directory.deb": "duplicate /usr with different content",
    "old-format-0.939000.deb": "not a Debian package",
}

ADD = "is not part of the disk image: add "
MANIFESTS = {
    "alias-container.yaml": f'{ADD}"docker.io/library/nginx:1.29"',
    "argo-workflow.yaml": f'{ADD}"quay.io/x/y:1"',
    "caps-registry.yaml": f'{ADD}"Registry.example.org/nginx:1.29"',
    "comments-only-docs.yaml": "",
    "configmap-with-pod.yaml": "",
    "crd-with-containers.yaml": "",
    "cronjob.yaml": f'{ADD}"docker.io/library/alpine:3"',
    "directive.yaml": "",
    "docker-io-without-library.yaml": f'{ADD}"docker.io/library/nginx:1.29"',
    "duplicate-key.yaml": "duplicate key 'image'",
    "ephemeral.yaml": f'{ADD}"docker.io/library/alpine:3"',
    "helm-template.yaml": "a template that is not rendered",
    "helmchartconfig.yaml": "",
    "image-folded.yaml": f'{ADD}"docker.io/library/alpine:3"',
    "image-volume.yaml": f'{ADD}"quay.io/acme/models:v1"',
    "index-docker-io.yaml": f'{ADD}"docker.io/library/nginx:1.29"',
    "kind-typo.yaml": "apps/v1 has no 'Deploymnet'; did you mean 'Deployment'?",
    "kustomization-as-manifest.yaml": "a kustomization, which K3s does not apply",
    "merge-key.yaml": f'{ADD}"quay.io/x/y:1"',
    "never-policy.yaml": f'{ADD}"docker.io/library/alpine:3"',
    "prometheus-cr.yaml": f'{ADD}"quay.io/prometheus/prometheus:v3"',
    "pvc-local-path.yaml": "",
    "secret-inline.yaml": "",
    "static-namespace-missing.yaml": f'{ADD}"docker.io/library/nginx:1.29"',
    "tag-and-digest-listed.yaml": f'{ADD}"docker.io/library/nginx@sha256:aaaa',
    "tag-and-digest.yaml": f'{ADD}"docker.io/library/nginx@sha256:aaaa',
    "wrong-api.yaml": "no Deployment of extensions/v1beta1 any more: expected apiVersion: apps/v1",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cases")
    with tarfile.open(INPUTS) as archive:
        archive.extractall(directory, filter="data")
    return directory


def shown(path: str, node: Node) -> str:
    if node.kind is Kind.SYMLINK:
        return f"{path} -> {node.target}"
    return f"{path} {node.mode:o}" + "".join(f" {key}={v.hex()}" for key, v in node.xattrs)


def files(tree: Tree) -> list[str]:
    return [shown(path, node) for path, node in tree.items() if node.kind is not Kind.DIRECTORY]


def opened(path: Path, arch: Arch, directory: Path) -> image.Image:
    with open_image(path, arch) as found:
        return image.read_described(found, Store(directory / "store"), "x")


def test_every_input_is_in_a_table(inputs: Path) -> None:
    def names(pattern: str) -> set[str]:
        return {str(path.relative_to(inputs)) for path in inputs.glob(pattern)}

    found = {name for name in names("0[1-8]*/*") if not name.endswith("/README")}
    assert found == {*IMAGES, *(name for name, _, _ in OTHERS)}
    assert names("40-manifests/*.yaml") == {f"40-manifests/{name}" for name in MANIFESTS}
    assert len(names("09-debs/*.deb")) == 22


@pytest.mark.parametrize("name", IMAGES)
def test_image(inputs: Path, tmp_path: Path, name: str) -> None:
    found = opened(inputs / name, X86_64, tmp_path)
    base = ("bin/app ", "etc/os-release ")
    rest = [line for line in files(found.tree) if not line.startswith(base)]
    assert [*rest, *(f"left out: {path}" for path in found.devices)] == list(IMAGES[name])
    for (case, path), content in CONTENTS.items():
        assert case != name or found.tree.read(path) == content


@pytest.mark.parametrize(("name", "arch", "reason"), OTHERS)
def test_architecture(inputs: Path, tmp_path: Path, name: str, arch: Arch, reason: str) -> None:
    if not reason:
        assert "bin/app" in opened(inputs / name, arch, tmp_path).tree
        return
    with pytest.raises((ArchitectureError, ArchiveError)) as caught:
        opened(inputs / name, arch, tmp_path)
    assert reason in caught.value.message


def test_of_two_variants_the_newer_one_that_runs_is_taken(inputs: Path, tmp_path: Path) -> None:
    found = opened(inputs / "05-platforms/arm-v6-and-v7", ARM, tmp_path)
    assert "opt/a" in found.tree  # only the image for v7 has it


def test_packages(inputs: Path, tmp_path: Path) -> None:
    seen = {}
    for path in sorted((inputs / "09-debs").glob("*.deb")):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            found = deb.read(path, sha256, store=Store(tmp_path / "store"), origin="x")
        except EdgeimgError as error:
            assert BAD_DEBS[path.name] in error.message
            seen[path.name] = None
            continue
        assert (found.name, found.version) == ("demo", "1:2.0-1")
        seen[path.name] = tuple(files(found.tree))
    expected = {
        name: DEBS.get(name, ("usr/bin/demo 644",)) for name in seen if name not in BAD_DEBS
    }
    assert seen == {**expected, **dict.fromkeys(BAD_DEBS)}


def joined(path: Path, known: tuple[str, ...]) -> Manifests:
    tree = Tree().with_nodes({path.name: file(path.read_bytes())})
    return manifests.join("w", manifests.texts(tree), known)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest(inputs: Path, name: str) -> None:
    path = inputs / "40-manifests" / name
    if not MANIFESTS[name]:
        assert joined(path, ()).data
        return
    with pytest.raises(RecipeError) as caught:
        joined(path, ())
    assert f"  {name}:" in caught.value.message
    assert MANIFESTS[name] in caught.value.message


@pytest.mark.parametrize(
    ("version", "kind", "why"),
    [
        ("apps/v1", "Pod", "apps/v1 has no Pod: expected apiVersion: v1"),
        ("v1", "ConfigMaps", "did you mean 'ConfigMap'?"),
        ("networking.k8s.io/v1beta1", "Ingress", "expected apiVersion: networking.k8s.io/v1"),
        ("batch/v1beta1", "CronJob", "expected apiVersion: batch/v1"),
        ("v1", "PodList", ""), ("v1", "List", ""), ("batch/v1", "CronJob", ""),
        ("networking.k8s.io/v1beta1", "ServiceCIDR", ""), ("apps/v1", "Unheard", ""),
        ("example.org/v1", "Deploymnet", ""), ("autoscaling/v1", "HorizontalPodAutoscaler", ""),
    ],
)  # fmt: skip
def test_kinds_of_kubernetes(version: str, kind: str, why: str) -> None:
    found = kinds.fault(version, kind)
    assert why in found if why and found else found == (why or None)


def test_pods_by_every_spelling_of_an_image_find_it(inputs: Path) -> None:
    path = inputs / "42-tag-digest/pods.yaml"
    with pytest.raises(RecipeError) as caught:
        joined(path, ())
    named = [
        line.partition('add "')[2].partition('"')[0] for line in caught.value.message.split("\n")
    ]
    full = tuple(name for name in named if name)
    assert PLAIN in full
    assert not [name for name in full if name.count(":") > 1 + name.count("@")]
    assert joined(path, full).images == set(full)


def test_a_recipe_has_its_images_under_the_names_that_the_cri_asks_for(inputs: Path) -> None:
    folder = inputs / "42-tag-digest"
    tables = tomllib.loads((folder / "recipe.toml").read_text())["workloads"]
    images = Recipe.model_validate({"workloads": tables}).workloads["app"].images
    assert "docker.io/library/short:1" in images
    assert not [name for name in images if "@" in name and ":" in name.partition("@")[0]]
    assert joined(folder / "pods.yaml", tuple(images)).images == set(images)
