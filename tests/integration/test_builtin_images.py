"""The built-in container images from the locked Debian packages: run, and imported for real."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg import fetch, process, tools, tree
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.cache.store import Store
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.recipe.image_name import short_name
from edgeimg.sources import deb, k3s
from edgeimg.sources.builtin_images import HELLO_PAGE, builtin_images
from edgeimg.sources.oci import ContainerImage
from edgeimg.workloads import images
from edgeimg.workloads.layout import ARCHIVE, IMAGES

from tests.standin import compiled

pytestmark = pytest.mark.integration
EPOCH = 1767225600
SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/edgeimg/import-images"


def composed(arch: Arch, lock: Lock, cache: Store) -> tuple[ContainerImage, ...]:
    """The images of the locked packages."""
    packages = lock.images[arch.name].groups["containers"]
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
    opened = {
        p.name: deb.read(cache.blob(p.sha256), p.sha256, store=cache, origin=f"package:{p.name}")
        for p in packages
    }
    return builtin_images(arch, opened)


@pytest.fixture
def here(default_lock: Lock, cache: Store, tmp_path: Path) -> dict[str, Path]:
    """The roots of the images for this host, by short name."""
    roots = {}
    for image in composed(tools.build_host(), default_lock, cache):
        roots[short_name(image.name)] = tmp_path / short_name(image.name)
        image.tree.extract(roots[short_name(image.name)])
    return roots


def test_hello_answers_with_its_page(here: dict[str, Path]) -> None:
    root = here["hello"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command: list[str | Path] = [
        root / "bin/busybox",
        "httpd",
        "-f",
        "-p",
        f"127.0.0.1:{port}",
        "-h",
        root / "www",
    ]
    with process.start(command):
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert answer.read() == HELLO_PAGE
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail("no answer")


def test_pause_waits_and_ends_at_once(here: dict[str, Path]) -> None:
    root = here["pause"]
    with process.start([root / "catatonit", "-P"]) as paused:
        time.sleep(0.3)
        assert paused.poll() is None
        paused.send_signal(signal.SIGTERM)
        assert paused.wait(5) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.fixture
def containerd(cache: Store, tmp_path: Path) -> Iterator[list[str | Path]]:
    """The command line of `ctr` for a containerd, out of the stand-in's binary."""
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    host = tools.build_host()
    binary = compiled(host, cache)
    k3s.unpack(binary, host, cache, source="standin").tree.extract(tmp_path / "root")
    programs = tmp_path / "root/usr/lib/k3s/current/bin"
    address = tmp_path / "c.sock"
    config = tmp_path / "config.toml"
    config.write_text(
        f'version = 3\nroot = "{tmp_path}/data"\nstate = "{tmp_path}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", '
        '"io.containerd.cri.v1.images"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    log = (tmp_path / "log").open("wb")
    with process.start([programs / "containerd", "-c", config], stdout=log, stderr=log):
        for _ in range(300):
            if address.exists():
                break
            time.sleep(0.1)
        yield [programs / "ctr", "-a", address]
    log.close()


def test_containerd_imports_them(
    containerd: list[str | Path], default_lock: Lock, cache: Store, tmp_path: Path
) -> None:
    for arch in ARCHITECTURES:
        made = composed(arch, default_lock, cache)
        images.compose_images(made, arch, EPOCH).extract(tmp_path / arch.name)
        ctr = [*containerd, "-n", arch.name]
        archive = tmp_path / arch.name / ARCHIVE
        options = ("--no-unpack", "--all-platforms")
        process.run([*ctr, "images", "import", *options, archive], timeout=60)
        listed = process.run([*ctr, "images", "ls"], timeout=60).decode().splitlines()[1:]
        found = {line.split()[0]: line.split()[5] for line in listed}
        assert found == {
            "localhost/edgeimg/hello:1": arch.oci_platform,
            "localhost/edgeimg/pause:1": arch.oci_platform,
        }


class Importing:
    """The guest's import-images, run here with a containerd of this host."""

    def __init__(self, ctr: list[str | Path], work: Path) -> None:
        self.work, self.ctr = work, ctr
        program = work / "ctr"
        words = " ".join(f"'{word}'" for word in ctr)
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        self.snapshots = work / "data/io.containerd.snapshotter.v1.overlayfs/snapshots"

    def run(self, made: Sequence[ContainerImage], version: str) -> dict[str, Path]:
        """The layers that are links, by image, after a system with these images has started."""
        root = self.work / version
        if not root.exists():
            images.compose_images(made, tools.build_host(), EPOCH).extract(root)
        environment = {
            "IMAGES": str(root / IMAGES), "STATE": str(self.work / "kept"),
            "CONTAINERD": str(self.work / "data"), "CTR": str(self.work / "ctr"),
        }  # fmt: skip
        process.run([SCRIPT], timeout=120, env=process.environment(environment))
        links = [layer.readlink() for layer in self.snapshots.glob("*/fs") if layer.is_symlink()]
        # Those of an earlier version stay until containerd has cleaned up.
        mine = [link for link in links if link.is_relative_to(root)]
        return {link.parent.name.rpartition("-")[0]: link for link in mine}

    def names(self) -> set[str]:
        listed = process.run([*self.ctr, "-n", "k8s.io", "images", "ls", "-q"], timeout=60)
        return {name for name in listed.decode().split() if not name.startswith("sha256:")}


def test_images_start_from_the_root_and_go_with_an_update(
    containerd: list[str | Path], default_lock: Lock, cache: Store, tmp_path: Path
) -> None:
    pause, hello = composed(tools.build_host(), default_lock, cache)
    gateway = Importing(containerd, tmp_path)
    links = gateway.run([pause, hello], "first")
    assert set(links) == {"pause", "hello"}
    assert (links["hello"] / "www/index.html").read_bytes() == HELLO_PAGE
    assert gateway.names() == {pause.name, hello.name}
    assert gateway.run([pause, hello], "first") == links

    # Power was cut between two steps.
    layer = next(
        path for path in gateway.snapshots.glob("*/fs") if path.readlink() == links["hello"]
    )
    layer.rename(layer.with_name("fs.new"))
    assert gateway.run([pause, hello], "first") == links
    layer.unlink()
    layer.mkdir()
    (layer / ".edgeimg-image").write_text(f"{links['hello'].parent.name}\n")
    (layer.parent / "fs.old").mkdir()
    layer.with_name("fs.new").symlink_to("nowhere")
    assert gateway.run([pause, hello], "first") == links
    assert {path.name for path in layer.parent.iterdir()} == {"fs", "work"}

    # An update brings another hello and no pause; the containers of the old one are gone.
    changed = replace(hello, tree=hello.tree.with_nodes({"www/new": tree.file(b"new")}))
    renewed = gateway.run([changed], "second")
    assert (renewed["hello"] / "www/new").read_bytes() == b"new"
    assert gateway.names() == {hello.name}
    back = gateway.run([pause, hello], "first")
    assert back["hello"] == links["hello"]
    assert gateway.names() == {pause.name, hello.name}
