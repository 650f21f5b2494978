"""Which image of a layout is taken: platforms as containerd reads them, and names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError
from edgeimg.sources import oci_archive, oci_layers

from tests.samples import Member, member, tar

Platform = dict[str, str]
REFERENCE = "org.opencontainers.image.ref.name"


class Layout:
    """An OCI layout as a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True)

    def blob(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / name).write_bytes(data)
        return f"sha256:{name}"

    def document(self, **fields: Any) -> str:
        return self.blob(json.dumps(fields).encode())

    def image(
        self, platform: Platform, members: list[Member], name: str = "", layer: bytes | None = None
    ) -> None:
        """Add an image of one layer, `layer` or that of `members`."""
        layer = tar(members) if layer is None else layer
        config = self.document(
            **platform, config={"Cmd": [str(platform)]},
            rootfs={"type": "layers", "diff_ids": [self.blob(layer)]},
        )  # fmt: skip
        kind = "application/vnd.oci.image.layer.v1.tar"
        manifest = self.document(
            schemaVersion=2, config={"digest": config},
            layers=[{"mediaType": kind, "digest": self.blob(layer)}],
        )  # fmt: skip
        self.add(digest=manifest, platform=platform, annotations={REFERENCE: name} if name else {})

    def add(self, **entry: Any) -> None:
        self.entries.append(entry)
        (self.path / "index.json").write_text(json.dumps({"manifests": self.entries}))


def platform(text: str) -> Platform:
    system, architecture, *variant = text.split("/")
    return {
        "os": system,
        "architecture": architecture,
        **({"variant": variant[0]} if variant else {}),
    }


def taken(layout: Layout, arch: Arch, tag: str = "") -> str:
    with oci_archive.open_image(layout.path, arch, tag) as image:
        return image.command[0]


def tree(layout: Layout, store: Path) -> oci_layers.Flat:
    with oci_archive.open_image(layout.path, X86_64) as image:
        return oci_layers.flatten(image.layers, store=Store(store), origin="x")


@pytest.mark.parametrize(
    ("platforms", "arch", "best"),
    [
        ("linux/arm64 linux/arm64/v8", ARM64, "linux/arm64/v8"),
        ("linux/arm64/v8 linux/arm64", ARM64, "linux/arm64/v8"),
        ("linux/arm linux/arm/v7", ARM, "linux/arm/v7"),
        ("linux/arm/v6 linux/arm linux/arm/v5", ARM, "linux/arm"),
        ("linux/arm/v6 linux/arm/7", ARM, "linux/arm/7"),
        ("linux/amd64 linux/amd64/v1 linux/amd64/v3", X86_64, "linux/amd64/v1"),
        ("linux/x86_64", X86_64, "linux/x86_64"),
        ("linux/aarch64", ARM64, "linux/aarch64"),
        ("linux/armel linux/armhf", ARM, "linux/armhf"),
        ("Linux/amd64", X86_64, "Linux/amd64"),
    ],
)  # fmt: skip
def test_the_platform_that_suits_best(
    tmp_path: Path, platforms: str, arch: Arch, best: str
) -> None:
    layout = Layout(tmp_path)
    for text in platforms.split():
        layout.image(platform(text), [])
    assert taken(layout, arch) == str(platform(best))


@pytest.mark.parametrize(
    ("text", "arch"),
    [("linux/arm64/9", ARM64), ("linux/armhf", ARM64), ("linux/x86_64/v3", X86_64)],
)
def test_a_platform_that_does_not_suit(tmp_path: Path, text: str, arch: Arch) -> None:
    layout = Layout(tmp_path)
    layout.image(platform(text), [])
    with pytest.raises(ArchitectureError, match=f"only for {text}"):
        taken(layout, arch)


def test_platforms_are_compared_within_one_image(tmp_path: Path) -> None:
    """Of two images the one for the newer processor is not the better one."""
    layout = Layout(tmp_path)
    layout.image(platform("linux/arm/v6"), [], "app:1")
    layout.image(platform("linux/arm/v7"), [], "tool:1")
    with pytest.raises(ArchiveError, match="holds 2 images, expected one"):
        taken(layout, ARM)
    assert taken(layout, ARM, "app:1") == str(platform("linux/arm/v6"))


def test_a_blob_that_is_missing_and_a_manifest_of_old(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.image(platform("linux/amd64"), [])
    layout.add(digest=layout.document(schemaVersion=1, fsLayers=[]))
    assert taken(layout, X86_64) == str(platform("linux/amd64"))
    layout.add(digest="sha256:" + "1" * 64)
    with pytest.raises(ArchiveError, match="lacks the blob sha256:111"):
        taken(layout, X86_64)


def test_what_is_left_out_of_a_layer(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image(
        platform("linux/amd64"),
        [
            member("null", type=b"3"), member("link", type=b"1", link="null"),
            member(".wh..wh.plnk/1", b"x"), member("a", b"x"), member("b", type=b"1", link="a"),
        ],
    )  # fmt: skip
    found = tree(layout, tmp_path / "store")
    assert found.devices == ("link", "null")
    assert [path for path, _ in found.tree.items()] == ["a", "b"]


def test_a_layer_may_end_without_its_blocks_of_zeros(tmp_path: Path) -> None:
    whole = tar([member("bin/app", b"x" * 600)])
    for number, (layer, files) in enumerate(
        [
            (whole[:1536], ["bin", "bin/app"]),
            (whole[:1536] + bytes(512), ["bin", "bin/app"]),
            (b"", []),
        ]
    ):
        layout = Layout(tmp_path / str(number))
        layout.image(platform("linux/amd64"), [], layer=layer)
        found = tree(layout, tmp_path / "store")
        assert [path for path, _ in found.tree.items()] == files


@pytest.mark.parametrize("end", [1535, 1024, 700, 100])
def test_a_layer_that_is_cut_off_is_refused(tmp_path: Path, end: int) -> None:
    layout = Layout(tmp_path / "layout")
    layer = tar([member("bin/app", b"x" * 600)])[:end]
    layout.image(platform("linux/amd64"), [], layer=layer)
    with pytest.raises(ArchiveError, match=r"truncated|not a whole tar"):
        tree(layout, tmp_path / "store")
