"""The small formats of pack: cpio, sparse files, manifests, command lines, os-release."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
from edgeimg import tree
from edgeimg.arch import ARM64, X86_64
from edgeimg.errors import ImageError
from edgeimg.image import manifest
from edgeimg.pack import cpio, uki
from edgeimg.streams import sparse
from edgeimg.tree import Tree
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import pe_files


def test_cpio_records() -> None:
    data = cpio.archive(
        Tree({"a": tree.directory(), "a/b": tree.file(b"hello", mode=0o755),
              "c": tree.symlink("a/b")})
    )  # fmt: skip
    assert len(data) % 4 == 0
    assert data.count(b"070701") == 4
    second = data.index(b"070701", 6)
    header = data[second : second + 110].decode()
    fields = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
    assert fields == [2, 0o100755, 0, 0, 1, 0, 5, 0, 0, 0, 0, 4, 0]
    assert data[second + 110 : second + 114] == b"a/b\0"
    assert b"TRAILER!!!\0" in data[-128:]


def test_cpio_does_not_depend_on_insertion_order() -> None:
    nodes = {"x": tree.directory(), "x/y": tree.file(b"1"), "w": tree.file(b"2")}
    assert cpio.archive(Tree(nodes)) == cpio.archive(Tree(dict(reversed(nodes.items()))))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 900_000), st.binary(min_size=1, max_size=9)), max_size=5))
def test_sparse_copy_is_a_copy(writes: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source"), Path(name, "target")
        with source.open("wb") as file:
            file.truncate(1_000_000)
            for offset, data in writes:
                file.seek(offset)
                file.write(data)
        with target.open("wb") as file:
            file.truncate(2_000_000)
        sparse.copy(source, target, offset=4096)
        content = source.read_bytes()
        assert target.read_bytes()[4096 : 4096 + len(content)] == content
        back = Path(name, "back")
        sparse.extract(target, back, offset=4096, size=len(content))
        assert back.read_bytes() == content
        end = len(content.rstrip(b"\0"))
        assert 0 <= sparse.used(source) - end < sparse.BLOCK


def contents() -> manifest.Contents:
    return manifest.Contents(
        id="gateway",
        version="0.1.0",
        arch="arm64",
        epoch=1767225600,
        kernel="6.12.1",
        k3s=manifest.K3sFacts(version="v1", source="standin", sha256="0" * 64, standin=True),
        packages=(
            manifest.PackageFacts(name="b", version="1", arch="all"),
            manifest.PackageFacts(name="a", version="2", arch="arm64"),
        ),
        components={"k3s": 5, "edgeimg": 1},
        services=(
            manifest.ServiceFacts(
                name="ssh", kind="packages", source="dropbear-bin", image="", digest="1" * 64
            ),
        ),
    )


def test_manifest_survives_the_root() -> None:
    read = manifest.Contents.from_json(contents().file())
    assert read.k3s == contents().k3s
    assert [package.name for package in read.packages] == ["a", "b"]
    assert read.services == contents().services
    assert read.file() == contents().file()
    # Images of before there were services are read as well.
    older = {k: v for k, v in json.loads(contents().file()).items() if k != "services"}
    assert manifest.Contents.from_json(json.dumps(older).encode()).services is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgeimg-manifest-2"},
        {"packages": [{"name": "a"}]},
        {"k3s": 3},
        {"image": {"id": "x"}},
        {"components": 3},
        {"packages": 5},
        {"services": [{"name": "ssh"}]},
    ],
)
def test_foreign_manifests_are_refused(change: dict[str, object]) -> None:
    data = json.dumps({**json.loads(contents().file()), **change}).encode()
    with pytest.raises(ImageError):
        manifest.Contents.from_json(data)


@given(st.binary(max_size=60))
def test_garbage_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ImageError):
        manifest.Contents.from_json(data)


def test_command_line() -> None:
    words = uki.cmdline(ARM64, root_hash="ab" * 32, extra=("quiet", "a=b")).split()
    assert words[0] == f"roothash={'ab' * 32}"
    consoles = [word for word in words if word.startswith("console=")]
    assert consoles[-1] == "console=ttyAMA0", "the last console is /dev/console"
    assert "panic=10" in words
    assert words[-2:] == ["quiet", "a=b"]
    assert "console=ttyS0,115200n8" in uki.cmdline(X86_64, root_hash="0").split()


def test_os_release() -> None:
    text = b'# a comment\nID=edge\nNAME="Edge  Image"\nODD="x\n\nEMPTY=\nQ=\'a b\'\n'
    assert uki.parse_os_release(text) == {
        "ID": "edge", "NAME": "Edge  Image", "ODD": '"x', "EMPTY": "", "Q": "a b",
    }  # fmt: skip


def test_what_is_no_uki_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.efi"
    for data in (b"", b"MZ", b"MZ" + bytes(4000)):
        path.write_bytes(data)
        with pytest.raises(ImageError):
            uki.read(path)


UKI = {
    ".cmdline": b"roothash=1 quiet\0",
    ".osrel": b"ID=x\n",
    ".uname": b"6.1",
    ".linux": bytes(99),
}
_TABLE = 0x40 + 24 + 112 + 8 * 16


def made_uki(path: Path, *, behind: bytes = b"", **raw: int) -> Path:
    """A UKI; `raw` are sizes that its headers have for sections instead of the right ones."""
    data = bytearray(pe_files.program(*UKI.values(), behind=behind))
    for number, name in enumerate(UKI):
        row = _TABLE + 40 * number
        data[row : row + 8] = name.encode().ljust(8, b"\0")
        if (size := raw.get(name[1:])) is not None:
            struct.pack_into("<I", data, row + 8, size)
            struct.pack_into("<II", data, row + 16, size, 0)
    path.write_bytes(data)
    return path


def test_sections_of_a_uki_are_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "x.efi"
    found = uki.read(made_uki(path))
    assert (found.cmdline, found.root_hash, found.uname) == ("roothash=1 quiet", "1", "6.1")
    assert (found.os_release, found.sizes[".linux"]) == ({"ID": "x"}, 99)
    megabyte = bytes(1 << 20)
    assert uki.read(made_uki(path, behind=megabyte, linux=1 << 20)).sizes[".linux"] == 1 << 20
    for wrong in ({"cmdline": 1 << 17}, {"linux": 1 << 24}, {"uname": 0xFFFFFFFF}):
        with pytest.raises(ImageError, match="no unified kernel image"):
            uki.read(made_uki(path, behind=megabyte, **wrong))


def test_the_reset_sorts_after_every_version_of_the_system() -> None:
    given = b'ID=debian\nIMAGE_ID=gateway\nIMAGE_VERSION=0.1.0\nPRETTY_NAME="A gateway"\n'
    found = uki.parse_os_release(uki.reset_os_release(given))
    assert found["IMAGE_ID"] > "gateway"
    assert found == {**uki.parse_os_release(given), "IMAGE_ID": found["IMAGE_ID"]}
    assert uki.parse_os_release(uki.reset_os_release(b"ID=tiny"))["IMAGE_ID"] == "tiny-reset"
