"""What tests with real tools share: the user's cache, the default lock, and its tools."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg import fetch, tools, tree
from edgeimg.arch import X86_64, Arch
from edgeimg.cache.store import Store, default_root
from edgeimg.compose import kernel_deb
from edgeimg.fetch import mirrors
from edgeimg.image import manifest
from edgeimg.lock.file import read_lock
from edgeimg.lock.model import Lock
from edgeimg.pack import image, publish
from edgeimg.progress import Silent
from edgeimg.recipe.model import Recipe
from edgeimg.sources import deb
from edgeimg.sources.deb import Deb
from edgeimg.tools import Toolbox
from edgeimg.tree import Node, Tree

from tests.strict import (  # noqa: F401
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

PROJECT = Path(__file__).parents[1]

PAYLOAD = bytes(range(256)) * 4096
"""A file of 1 MiB in the root of every tiny image."""


@pytest.fixture(scope="session")
def cache() -> Store:
    """The cache of builds: downloads are made once, not once a test."""
    return Store(default_root())


@pytest.fixture(scope="session")
def default_lock() -> Lock:
    return read_lock(PROJECT / "recipes/gateway.lock.toml")


@pytest.fixture(scope="session")
def toolbox(cache: Store, default_lock: Lock) -> Callable[[str], Toolbox]:
    """`toolbox("pack")`: the tools of a group, fetched when they are not in the cache."""

    def prepare(group: str) -> Toolbox:
        host = tools.build_host()
        packages = tools.packages(default_lock, group, host)
        fetch.fetch(
            fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
        )
        return tools.prepare(default_lock, group, cache, host=host)

    return prepare


@dataclass(frozen=True)
class TinyImages:
    """Makes disk images whose root holds busybox and what a test puts there."""

    cache: Store
    lock: Lock
    pack: Toolbox

    def trees(self, arch: Arch, group: str) -> dict[str, Deb]:
        """The packages of a group of the default lock, by name."""
        packages = self.lock.images[arch.name].groups[group]
        fetch.fetch(
            fetch.package_downloads(packages, mirrors.from_host(os.environ)),
            self.cache,
            offline=False,
        )
        return {
            package.name: deb.read(
                self.cache.blob(package.sha256),
                package.sha256,
                store=self.cache,
                origin=f"package:{package.name}",
            )
            for package in packages
        }

    def source(self, arch: Arch, files: Mapping[str, Node]) -> image.Source:
        """What an image with `files` on top of busybox is made from."""
        initrd = tree.union(found.tree for found in self.trees(arch, "initrd").values())
        (kernel,) = (
            found
            for name, found in self.trees(arch, "kernel").items()
            if any(path.startswith("boot/vmlinuz") for path, _ in found.tree.items())
        )
        directories = ("dev", "proc", "sys", "run", "etc", "usr", "usr/bin", "usr/lib", "var")
        nodes: dict[str, Node] = {
            **{path: tree.directory() for path in (*directories, "usr/share")},
            "usr/share/edgeimg": tree.directory(),
            manifest.PATH: tree.file(self.contents(arch).file()),
            "bin": tree.symlink("usr/bin"),
            "sbin": tree.symlink("usr/bin"),
            "usr/bin/busybox": tree.replace(initrd["usr/bin/busybox"], mode=0o755),
            "usr/bin/sh": tree.symlink("busybox"),
            "usr/lib/os-release": tree.file(b'ID=tiny\nPRETTY_NAME="Tiny test system"\n'),
            "usr/lib/payload": tree.file(PAYLOAD),
        }
        boot = tree.union(found.tree for found in self.trees(arch, "boot").values())
        return image.Source(
            recipe=Recipe(),
            arch=arch,
            root=Tree({**nodes, **files}),
            kernel=kernel_deb.from_deb(kernel),
            initrd=initrd,
            boot=boot,
        )

    def contents(self, arch: Arch) -> manifest.Contents:
        """A manifest of an image without packages."""
        return manifest.Contents(
            id="gateway",
            version="0.1.0",
            arch=arch.name,
            epoch=Recipe().image.epoch,
            kernel="test",
            k3s=manifest.K3sFacts(version="none", source="file", sha256="0" * 64, standin=True),
            packages=(manifest.PackageFacts(name="busybox-static", version="1", arch="all"),),
            components={"edgeimg": len(PAYLOAD)},
        )

    def make(self, arch: Arch, files: Mapping[str, Node], work: Path) -> image.Packed:
        """The finished disk image, in the directory `work`."""
        source = self.source(arch, files)
        filesystems = image.make_filesystems(source, store=self.cache, toolbox=self.pack)
        return image.make_disk(source, filesystems, work, toolbox=self.pack)


def publish_tiny(tiny: TinyImages, packed: image.Packed, directory: Path) -> publish.Published:
    """Publish a tiny x86-64 image."""
    told = manifest.Manifest(
        contents=tiny.contents(X86_64),
        root_hash=packed.root_hash,
        disk=packed.plan,
        sizes=packed.sizes,
    )
    return publish.publish_build(
        packed.raw,
        told,
        directory,
        name="gateway_0.1.0_x86-64",
        toolbox=tiny.pack,
        progress=Silent(),
    )


@pytest.fixture(scope="session")
def publish_image() -> Callable[..., publish.Published]:
    return publish_tiny


@pytest.fixture(scope="session")
def tiny(cache: Store, default_lock: Lock, toolbox: Callable[[str], Toolbox]) -> TinyImages:
    """Makes small images with the real initrd, kernel and boot loader."""
    return TinyImages(cache, default_lock, toolbox("pack"))
