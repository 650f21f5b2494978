"""A service from each source, for each architecture: a container image out of a real Docker engine,
an OCI layout, Debian packages, a static program. Built for all; test_services.py runs those of
x86-64.

EDGEIMG_TEST_ARM_SMOKE=1 boots the ARM images, which takes a quarter of an hour.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64, Arch

from tests import gateway
from tests.gateway import CPUS, built, edgeimg
from tests.integration import docker_engine

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(
        os.geteuid() != 0 or not docker_engine.programs(),
        reason="needs root, dockerd and docker-registry: apt install docker.io docker-registry",
    ),
]
SOURCES = ("-r", "recipes/sources.toml")
ARM_SMOKE = os.environ.get("EDGEIMG_TEST_ARM_SMOKE") == "1"
RECIPE = """\
include = ["gateway.toml"]

[services.engine]
image = "{registry}/acme/sleeper:1"

[services.layout]
archive = "programs/layout-{{arch}}"

[services.packaged]
packages = ["busybox-static"]
command = ["busybox", "sleep", "100000"]

[services.static]
binary = "programs/busybox-{{arch}}"
files = "programs/links"
command = ["busybox", "sleep", "100000"]
"""
KINDS = {"engine": "image", "layout": "archive", "packaged": "packages", "static": "binary"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:
    """A project whose lock is made with the engine, which is gone afterwards."""
    root = tmp_path_factory.mktemp("sources")
    gateway.project(root)
    programs = root / "programs"
    (programs / "links/usr/bin").mkdir(parents=True)
    (programs / "links/usr/bin/busybox").symlink_to("static")
    images = {}
    for arch in ARCHITECTURES:
        busybox = tiny.trees(arch, "initrd")["busybox-static"].tree["usr/bin/busybox"]
        (programs / f"busybox-{arch.name}").write_bytes(busybox.read())
        images[arch] = docker_engine.sleeper(busybox, arch)
        with tarfile.open(fileobj=io.BytesIO(images[arch])) as tar:
            tar.extractall(programs / f"layout-{arch.name}", filter="data")
        (programs / f"layout-{arch.name}" / "manifest.json").unlink()  # of `docker save`
    shutil.copy(root / "recipes/gateway.lock.toml", root / "recipes/sources.lock.toml")
    with docker_engine.registry() as registry, docker_engine.engine() as host:
        registry.push("acme/sleeper", images)
        (root / "recipes/sources.toml").write_text(RECIPE.format(registry=registry.address))
        edgeimg(root, "lock", *SOURCES, "--accept-unsigned-index", "arm", DOCKER_HOST=host)
    return root


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_services_of_every_source_run(project: Path, arch: Arch) -> None:
    image = built(project, arch, *SOURCES)
    manifest = image.with_name(image.name.removesuffix(".raw.zst") + ".manifest.json")
    services = {one["name"]: one for one in json.loads(manifest.read_text())["services"]}
    assert {name: services[name]["kind"] for name in KINDS} == KINDS
    # The same image, out of the engine and out of the file.
    assert services["engine"]["image"] == services["layout"]["image"] != ""
    if arch is X86_64:
        return
    if not ARM_SMOKE:
        pytest.skip("built; to boot it as well, EDGEIMG_TEST_ARM_SMOKE=1")
    told = edgeimg(project, "smoke", *SOURCES, "-a", arch.name, "--cpus", str(CPUS), "--json")
    (report,) = json.loads(told)["reports"]
    for boot in report["boots"]:
        states = {one["name"]: one["state"] for one in boot["report"]["services"]}
        assert {states[name] for name in KINDS} == {"active"}
