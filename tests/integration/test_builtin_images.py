"""The built-in container images from the locked Debian packages: run, and imported for real."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import fetch, mirrors, process, tools
from builder.arch import ARCHITECTURES, Arch
from builder.errors import EdgeimgError
from builder.lock import Lock
from builder.sources import deb, k3s, standin
from builder.sources.builtin_images import HELLO_PAGE, builtin_images
from builder.store import Store

pytestmark = pytest.mark.integration
EPOCH = 1767225600


def composed(arch: Arch, lock: Lock, cache: Store, folder: Path) -> dict[str, Path]:
    """The archives of the locked packages' images, by name."""
    packages = lock.images[arch.name].groups["containers"]
    fetch.fetch(fetch.wanted(packages, mirrors.from_host(os.environ)), cache, offline=False)
    opened = {
        p.name: deb.read(cache.blob(p.sha256), p.sha256, store=cache, origin=f"package:{p.name}")
        for p in packages
    }
    builtin_images(arch, opened, epoch=EPOCH).extract(folder)
    return {path.stem: path for path in folder.rglob("*.tar")}


def layer(archive: Path, folder: Path) -> Path:
    """Unpack the only layer of an image."""
    with tarfile.open(archive) as outer:

        def read(name: str) -> bytes:
            handle = outer.extractfile(f"./{name}" if f"./{name}" in outer.getnames() else name)
            assert handle is not None
            return handle.read()

        (entry,) = json.loads(read("manifest.json"))
        with tarfile.open(fileobj=io.BytesIO(read(entry["Layers"][0]))) as inner:
            inner.extractall(folder)
    return folder


@pytest.fixture
def here(default_lock: Lock, cache: Store, tmp_path: Path) -> dict[str, Path]:
    return composed(tools.build_host(), default_lock, cache, tmp_path / "images")


def test_hello_answers_with_its_page(here: dict[str, Path], tmp_path: Path) -> None:
    root = layer(here["hello"], tmp_path / "root")
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


def test_pause_waits_and_ends_at_once(here: dict[str, Path], tmp_path: Path) -> None:
    root = layer(here["pause"], tmp_path / "root")
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
    try:
        binary = standin.cached(host, cache)
    except EdgeimgError as error:
        pytest.skip(error.message)
    if binary is None:
        pytest.skip("the stand-in has not been compiled yet: run `tests/run images`")
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
        archives = composed(arch, default_lock, cache, tmp_path / arch.name)
        ctr = [*containerd, "-n", arch.name]
        for archive in archives.values():
            options = ("--no-unpack", "--all-platforms")
            process.run([*ctr, "images", "import", *options, archive], timeout=60)
        listed = process.run([*ctr, "images", "ls"], timeout=60).decode().splitlines()[1:]
        found = {line.split()[0]: line.split()[5] for line in listed}
        assert found == {
            "localhost/edgeimg/hello:1": arch.oci_platform,
            "localhost/edgeimg/pause:1": arch.oci_platform,
        }
