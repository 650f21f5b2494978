"""Hostile project files through `edgeimg build` and `sbom`, in 1 GiB of memory.

Each ends with one clear line and its exit code. A good build afterwards gives the same image.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zstandard
from edgeimg.cache.store import sha256_file
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.lock.model import ImagePin, K3sAsset
from edgeimg.recipe.file import load
from edgeimg.resolve.requests import digest

from tests.fake_k3s import VERSION
from tests.integration.failing import SECONDS, Project, assert_one_error, exclusive
from tests.samples import Member, deb_bytes, member, tar

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("downloads")]
MEMORY = 1 << 30
IMAGE = "docker.io/library/x:1"
LINUX = {"architecture": "amd64", "os": "linux"}
COREDNS = "rancher/mirrored-coredns-coredns"


@dataclass(frozen=True)
class Case:
    """Makes a hostile file in a project, which ends with this code and text."""

    make: Callable[[Project], object]
    code: int
    says: str


def overlay(name: bytes | str, make: Callable[[Path], object]) -> Callable[[Project], object]:
    def work(project: Project) -> object:
        path = project.root / "overlays/ballast" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path)

    return work


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def key(project: Project) -> None:
    os.mkfifo(project.root / "key")
    project.edit({"[budget]\n": '[update]\nurl = "https://x.example"\nkey = "key"\n\n[budget]\n'})
    relock(project)


def pod_image(make: Callable[[Path], object]) -> Callable[[Project], object]:
    def work(project: Project) -> None:
        (project.root / "x.yaml").write_text("{}")
        table = f'[workloads.x]\nmanifests = "x.yaml"\nimages."{IMAGE}" = {{ archive = "x.tar" }}\n'
        project.edit({"\n[overlay]\n": f"\n{table}\n[overlay]\n"})
        relock(project)
        make(project.root / "x.tar")

    return work


def index_of_many(path: Path) -> None:
    """One manifest, named by 6,000 entries of an index."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)
    manifest = b'{"layers": [], "artifactType": "x"}'
    name = hashlib.sha256(manifest).hexdigest()
    (blobs / name).write_bytes(manifest)
    entries = [{"digest": f"sha256:{name}"}] * 6_000
    (path / "index.json").write_text(json.dumps({"manifests": entries}))


def relock(project: Project) -> None:
    path = project.recipe.with_suffix(".lock.toml")
    lock, wanted = read_lock(path), digest(load(project.recipe).recipe)
    pin = {IMAGE: ImagePin(reference="x.tar", digest=f"sha256:{'0' * 64}")}
    image = lock.images["x86-64"]
    pins = image.images | (pin if IMAGE in project.recipe.read_text() else {})
    images = {**lock.images, "x86-64": replace(image, images=pins)}
    write_lock(replace(lock, images=images, recipe_digest=wanted), path)


def airgap(make: Callable[[Path], object]) -> Callable[[Project], object]:
    """Locks what `make` writes as K3s' air-gap images."""

    def work(project: Project) -> None:
        project.edit({"\n[k3s]\n": '\n[k3s]\nairgap = ["coredns"]\n', ', "coredns"]': "]"})
        relock(project)
        packed = project.root / "x.tar"
        make(packed)
        data = sha256_file(packed)
        packed.rename(project.cache / "blobs" / data)
        path = project.recipe.with_suffix(".lock.toml")
        lock = read_lock(path)
        image = lock.images["x86-64"]
        asset = K3sAsset(version=VERSION, url="https://x.example/x", size=None, sha256=data)
        write_lock(
            replace(lock, images={**lock.images, "x86-64": replace(image, airgap=asset)}), path
        )

    return work


def saved(rows: object, **files: bytes) -> Callable[[Path], object]:
    """An archive of `docker save`, compressed as K3s' is."""
    members = {"manifest.json": json.dumps(rows).encode(), **files}
    data = tar([member(name, content) for name, content in members.items()])
    return lambda path: path.write_bytes(zstandard.compress(data))


def zeros(path: Path) -> None:
    """50 GiB of zeros."""
    frame = zstandard.compress(bytes(1 << 30))
    with path.open("wb") as file:
        for _ in range(50):
            file.write(frame)


def tags(count: int) -> list[dict[str, object]]:
    names = [f"{COREDNS}:{number}" for number in range(count)]
    return [{"RepoTags": names, "Config": "c", "Layers": []}]


def package(*members: Member, conffiles: str = "") -> Callable[[Project], object]:
    """Puts a package of these members in the place of a locked one."""

    def work(project: Project) -> None:
        path = project.recipe.with_suffix(".lock.toml")
        lock = read_lock(path)
        old = exclusive(lock)[0]
        data = deb_bytes(members, name=old.name, conffiles=conffiles)
        data_digest = hashlib.sha256(data).hexdigest()
        (project.cache / "blobs" / data_digest).write_bytes(data)
        new = replace(old, version="1.0", arch="all", size=len(data), sha256=data_digest)
        image = lock.images["x86-64"]
        groups = {
            name: tuple(new if row == old else row for row in rows)
            for name, rows in image.groups.items()
        }
        images = {**lock.images, "x86-64": replace(image, groups=groups)}
        write_lock(replace(lock, images=images), path)

    return work


CASES = {
    "a name that is not UTF-8": Case(
        overlay(b"gr\xfcn", lambda path: path.write_text("x")),
        7,
        r"ballast/gr.* is not UTF-8 text",
    ),
    "a file of a terabyte": Case(overlay("x", endless), 7, "more than 4096 MiB, with .*/x"),
    "os-release that is not UTF-8": Case(
        overlay("usr/lib/os-release", lambda path: path.write_bytes(b"\xff")),
        7,
        "/usr/lib/os-release of overlay:ballast is not UTF-8 text",
    ),
    "a directory in the place of a file": Case(
        overlay("etc/passwd/x", lambda path: path.write_text("x")),
        7,
        "/etc/passwd/x of overlay:ballast is below /etc/passwd",
    ),
    "a pod image that is a pipe": Case(pod_image(os.mkfifo), 7, "x.tar .*: not a regular file"),
    "an index of many images": Case(
        pod_image(index_of_many), 7, "x.tar: its indexes name too many images"
    ),
    "air-gap images of 50 GiB": Case(
        airgap(zeros), 7, "unpacks to more than .*: refused as a bomb"
    ),
    "air-gap images cut short": Case(
        airgap(lambda path: path.write_bytes(zstandard.compress(bytes(1 << 20))[:-9])),
        7,
        "K3s' air-gap archive is damaged",
    ),
    "an air-gap archive that is not an archive": Case(
        airgap(lambda path: path.write_bytes(b"x" * 99)),
        7,
        "K3s' air-gap archive is no container image",
    ),
    "air-gap images without coredns": Case(
        airgap(saved([])), 7, f"K3s' air-gap archive has no {COREDNS}"
    ),
    "air-gap images with 100,000 tags": Case(
        airgap(saved(tags(100_000), c=b"{}")), 7, f"has 100000 tags of {COREDNS}, expected 8"
    ),
    "air-gap images with a damaged image": Case(
        airgap(saved(tags(1), c=json.dumps(LINUX).encode())),
        7,
        "K3s' air-gap archive is no container image: 'rootfs'",
    ),
    "air-gap images for another processor": Case(
        airgap(saved(tags(1), c=json.dumps(LINUX | {"architecture": "s390x"}).encode())),
        8,
        "K3s' air-gap archive is for linux/s390x, expected linux/amd64",
    ),
    "a key that is a pipe": Case(key, 3, "update.key: cannot read .*: not a regular file"),
    "a package with 20 MB of conffiles": Case(
        package(conffiles="/a\n" * 7_000_000), 7, "files of control.tar.xz are larger than 16 MiB"
    ),
    "a package with a name of 300 bytes": Case(
        package(member(f"./{'x' * 300}")), 7, "is longer than 255 bytes"
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project, and the digest of its image; what a test changes in it, it puts back."""
    project = Project(tmp_path_factory.mktemp("hostile") / "project")
    project.share()
    return project, project.succeeds("--offline")["sha256"]


def limited(project: Project, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "edgeimg", *command, "--offline", "--k3s", project.k3s,
            "-a", "x86-64",
        ],
        cwd=project.root, env=project.environment(), capture_output=True, text=True, check=False,
        timeout=SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_the_right_exit_code(good: tuple[Project, str], name: str) -> None:
    case, project = CASES[name], good[0]
    saved = project.root.with_name("saved")
    shutil.copytree(project.root / "recipes", saved / "recipes")
    shutil.copytree(project.root / "overlays", saved / "overlays", symlinks=True)
    try:
        case.make(project)
        assert_one_error(limited(project, "sbom"), case.code, case.says)
    finally:
        for directory in ("recipes", "overlays"):
            shutil.rmtree(project.root / directory)
            (saved / directory).rename(project.root / directory)
        saved.rmdir()
        for left in ("x.tar", "x.yaml", "key"):
            path = project.root / left
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    assert list((project.cache / "partial").iterdir()) == []


def test_afterwards_a_good_build_gives_the_same_image(good: tuple[Project, str]) -> None:
    project, expected = good
    shutil.rmtree(project.output)
    done = limited(project, "build", "-o", str(project.output), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"][0]["sha256"] == expected
    project.assert_whole()
