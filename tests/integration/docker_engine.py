"""A real Docker engine and a real registry, on this machine, for as long as a test needs them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import requests
from edgeimg.arch import Arch
from edgeimg.sources import oci
from edgeimg.sources.oci import ImageConfig
from edgeimg.tree import Tree, replace
from edgeimg.tree.node import Node

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextlib.contextmanager
def engine(mirror: str | None = None) -> Iterator[str]:
    """A dockerd without network and privileges of its own kind; its DOCKER_HOST. Needs root.

    `mirror` is the address of a registry that stands for Docker Hub.
    """
    options = [f"--registry-mirror=http://{mirror}"] if mirror else []
    with tempfile.TemporaryDirectory(prefix="edgeimg-docker-") as name:
        work = Path(name)
        host = f"unix://{work}/docker.sock"
        with (work / "log").open("wb") as log:
            process = subprocess.Popen(
                ["dockerd", "--host", host, "--data-root", work / "data", "--exec-root",
                 work / "exec", "--pidfile", work / "pid", "--storage-driver=vfs",
                 "--iptables=false", "--bridge=none", *options],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _wait(lambda: docker.DockerClient(base_url=host).ping(), work / "log")
            yield host
        finally:
            process.terminate()
            process.wait(timeout=60)


class Registry:
    """A registry at `address`, into which images are put over its API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def push(self, name: str, images: dict[Arch, bytes], tag: str = "1") -> str:
        """Put the archives of oci.archive under one name, as an index; its digest."""
        manifests = []
        for arch, archive in images.items():
            files = members(archive)
            (entry,) = json.loads(files["index.json"])["manifests"]
            manifest = files[f"blobs/{entry['digest'].replace(':', '/')}"]
            for path, data in files.items():
                if path.startswith("blobs/") and data != manifest:
                    self._blob(name, data)
            self._put(name, entry["digest"], manifest, _MANIFEST)
            keys = ("mediaType", "digest", "size", "platform")
            manifests.append({key: entry[key] for key in keys} | {"platform": platform(arch)})
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
        data = json.dumps(index).encode()
        self._put(name, tag, data, _INDEX)
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def _blob(self, name: str, data: bytes) -> None:
        base = f"http://{self.address}/v2/{name}/blobs/uploads/"
        location = requests.post(base, timeout=30).headers["Location"]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        requests.put(location, params={"digest": digest}, data=data, timeout=30).raise_for_status()

    def _put(self, name: str, tag: str, data: bytes, kind: str) -> None:
        url = f"http://{self.address}/v2/{name}/manifests/{tag}"
        answer = requests.put(url, data=data, headers={"Content-Type": kind}, timeout=30)
        answer.raise_for_status()


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="edgeimg-registry-") as name:
        work = Path(name)
        config = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(work / "data")}},
            "http": {"addr": address},
        }
        (work / "config.yml").write_text(json.dumps(config))
        with (work / "log").open("wb") as log:
            argv = ["docker-registry", "serve", work / "config.yml"]
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            _wait(lambda: requests.get(f"http://{address}/v2/", timeout=5), work / "log")
            yield Registry(address)
        finally:
            process.terminate()
            process.wait(timeout=60)


def archive(name: str, tree: Tree, arch: Arch, **options: Any) -> bytes:
    """An image of one layer, as `docker load` takes it."""
    config = ImageConfig(**{"entrypoint": ("/usr/bin/program",), "user": "1000:1000"} | options)
    image = oci.ContainerImage(name=name, tree=tree, run=config.to_json())
    return oci.archive([image], arch, 0).data


def sleeper(busybox: Node, arch: Arch) -> bytes:
    """`docker save` of an image that does nothing, for long."""
    tree = Tree().with_nodes({"bin/busybox": replace(busybox, mode=0o755)})
    command = {"entrypoint": ("/bin/busybox", "sleep"), "command": ("100000",)}
    return archive("sleeper:1", tree, arch, **command)


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {info.name: tar.extractfile(info) for info in tar if info.isreg()}
        return {name: stream.read() for name, stream in files.items() if stream}


def platform(arch: Arch) -> dict[str, str]:
    names = ("os", "architecture", "variant")
    return dict(zip(names, arch.oci_platform.split("/"), strict=False))


def programs() -> bool:
    return all(shutil.which(name) for name in ("dockerd", "docker-registry"))


def _wait(ready: Any, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ready()
        except Exception as error:
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text(errors="replace")[-3000:]) from error
            time.sleep(0.3)
        else:
            return
