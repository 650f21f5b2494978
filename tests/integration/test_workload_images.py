"""Images of pods: EdgeX's names out of a real engine and registry, kustomizations, whole builds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from edgeimg import tools
from edgeimg.arch import ARCHITECTURES, ARM64, X86_64
from edgeimg.build import pipeline
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import plan_build
from edgeimg.cache.store import Store
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.sources import k3s, kubernetes
from edgeimg.tree import Tree, file
from edgeimg.ui import Ui

from tests.fake_k3s import FakeK3s
from tests.gateway import PROJECT
from tests.integration import docker_engine
from tests.integration.docker_engine import archive
from tests.samples import elf
from tests.standin import compiled

pytestmark = pytest.mark.integration
EDGEIMG = shutil.which("edgeimg") or "edgeimg"


@pytest.mark.skipif(
    os.geteuid() != 0 or not docker_engine.programs(),
    reason="needs root, dockerd and docker-registry: apt install docker.io docker-registry",
)
def test_edgex_is_locked_and_built_from_images_of_its_names(tmp_path: Path, cache: Store) -> None:
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, tmp_path / name, symlinks=True)
    path = tmp_path / "recipes/edgex.toml"
    recipe = load(path).recipe
    assert recipe.archs == (X86_64, ARM64)
    with docker_engine.registry() as registry:
        for arch in recipe.archs:
            for made in recipe.for_arch(arch).contents().values():
                if not (name := made.reference(arch.name)):
                    continue
                repository, _, tag = name.removeprefix("docker.io/").rpartition(":")
                pushed = {
                    one: archive("x:1", program(one, name), one) for one in ARCHITECTURES
                }  # fmt: skip
                registry.push(repository, pushed, tag)
        with docker_engine.engine(mirror=registry.address) as host:
            done = subprocess.run(
                [EDGEIMG, "lock", "-r", path], check=False, capture_output=True, text=True,
                env={**os.environ, "DOCKER_HOST": host},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr

    # The engine is gone: what was locked is in the cache.
    (tmp_path / "k3s").write_bytes(FakeK3s(ARM64).binary())
    chosen = K3sChoice(source="file", path=tmp_path / "k3s")
    options = BuildOptions(output=tmp_path / "out", k3s=chosen, offline=False)
    planned = plan_build(load(path), ARM64, options)
    described = pipeline.sbom(planned, store=cache, ui=Ui(verbosity=-1))
    found = {c.ref: c for c in described.components}
    for reference in recipe.pod_images:
        assert f"image:{reference}" in found
    core = found["image:docker.io/edgexfoundry/core-data:3.1.1"]
    assert core.sha256


def program(arch, name: str) -> Tree:
    """An image of one architecture, which tells its name."""
    return Tree().with_nodes(
        {"usr/bin/program": file(elf(arch), mode=0o755), "name": file(name.encode())}
    )


@pytest.fixture(scope="module")
def kubectl(cache: Store) -> Path:
    """Of the stand-in for this host."""
    binary = compiled(tools.build_host(), cache)
    bundle = k3s.unpack(binary, tools.build_host(), cache, source="standin")
    return kubernetes.kubectl(bundle, cache)


BASE = b"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  level: low
"""


def tree(files: dict[str, bytes]) -> Tree:
    return Tree().with_nodes({path: file(data) for path, data in files.items()})


def test_a_kustomization_is_rendered_by_the_kubectl_of_the_image(
    kubectl: Path, cache: Store
) -> None:
    files = tree(
        {
            "base/settings.yaml": BASE,
            "base/kustomization.yaml": b"resources: [settings.yaml]\n",
            "edge/kustomization.yaml": b"resources: [../base]\nnamePrefix: edge-\n",
        }
    )
    made = kubernetes.kustomize(kubectl, files, "edge", store=cache).decode()
    assert "name: edge-settings" in made
    assert made == kubernetes.kustomize(kubectl, files, "edge", store=cache).decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"resources: [missing.yaml]\n", "missing.yaml"),
        (b"resources: [https://example.invalid/x.yaml]\n", "example.invalid"),
        (b"resources: [../../etc]\n", "cannot be rendered"),
        (b"nonsense: [\n", "cannot be rendered"),
    ],
)
def test_a_kustomization_that_reaches_out_is_refused(
    kubectl: Path, cache: Store, text: bytes, told: str
) -> None:
    files = tree({"kustomization.yaml": text})
    with pytest.raises(RecipeError, match=told):
        kubernetes.kustomize(kubectl, files, "", store=cache)
