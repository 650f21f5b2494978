"""Hostile disk images through `edgeimg inspect`, in 1 GiB of memory and 30 s of a processor.

Each is a good image with one change. Checksums and root hash are recalculated where it needs them.
"""

from __future__ import annotations

import json
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import zstandard
from edgeimg.arch import X86_64
from edgeimg.image.manifest import PATH
from edgeimg.image.partitions import SECTOR, DiskPlan
from edgeimg.pack import disk, erofs, verity
from edgeimg.pack.image import Packed
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree, file, symlink

from tests.conftest import PROJECT, TinyImages
from tests.integration.failing import SECONDS, assert_one_error

pytestmark = pytest.mark.integration
MEMORY, PROCESSOR = 1 << 30, 30
MIB = 1 << 20
OS_RELEASE = "usr/lib/os-release"
_ROW, _ROWS = 128, 128 * 128
"""Bytes of an entry of a GPT, and of all."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A raw image to be changed."""

    path: Path
    plan: DiskPlan
    root_hash: str
    tools: Toolbox

    def read(self, place: int, size: int) -> bytearray:
        with self.path.open("rb") as opened:
            opened.seek(place)
            return bytearray(opened.read(size))

    def write(self, place: int, data: bytes) -> None:
        with self.path.open("r+b") as opened:
            opened.seek(place)
            opened.write(data)

    def replace(self, old: bytes, new: bytes) -> None:
        """Every place of the ESP that has these bytes gets others."""
        assert len(old) == len(new)
        esp = self.plan["esp"]
        data = self.read(esp.start, esp.size)
        assert old in data
        self.write(esp.start, data.replace(old, new))

    def table(self, name: str, place: int, data: bytes) -> None:
        """Change bytes of a partition's entry in both tables, with their check sums."""
        number = [part.name for part in self.plan.partitions].index(name)
        for where in (SECTOR, self.plan.size - SECTOR):
            header = self.read(where, SECTOR)
            start = SECTOR * struct.unpack_from("<Q", header, 72)[0]
            rows = self.read(start, _ROWS)
            rows[_ROW * number + place : _ROW * number + place + len(data)] = data
            struct.pack_into("<I", header, 88, zlib.crc32(rows))
            struct.pack_into("<I", header, 16, 0)
            struct.pack_into("<I", header, 16, zlib.crc32(header[:92]))
            self.write(start, rows)
            self.write(where, header)


Change = Callable[[Image], object]


def root(files: Mapping[str, bytes | str]) -> Change:
    """Another root, which its root hash proves; texts are targets of symbolic links."""

    def change(image: Image) -> None:
        nodes = {
            path: symlink(content) if isinstance(content, str) else file(content)
            for path, content in files.items()
        }
        archive, made = image.path.with_name("tar"), image.path.with_name("erofs")
        with archive.open("wb") as output:
            Tree().with_nodes(nodes).write_tar(output, mtime=0)
        erofs.make(archive, made, compression="lz4", epoch=0, uuid=UUID(int=1), toolbox=image.tools)
        proof = verity.make(made, image.path.with_name("verity"), toolbox=image.tools)
        parts = ("root-a", made), ("root-a-verity", proof.path)
        for (name, content), uuid in zip(parts, disk.verity_uuids(proof.root_hash), strict=True):
            image.write(image.plan[name].start, content.read_bytes())
            image.table(name, 16, UUID(uuid).bytes_le)
        image.replace(image.root_hash.encode(), proof.root_hash.encode())

    return change


def length(name: str, sectors: int) -> Change:
    """Another last sector of a partition."""

    def change(image: Image) -> None:
        first = image.plan[name].start // 512
        image.table(name, 40, struct.pack("<Q", first + sectors - 1))

    return change


def claims(size: int) -> Change:
    """The boot entry says that it has so many bytes."""

    def change(image: Image) -> None:
        esp = image.plan["esp"]
        entry = re.search(rb"GATEWA~1EFI\x20.{16}", image.read(esp.start, esp.size), re.DOTALL)
        assert entry
        image.write(esp.start + entry.end(), struct.pack("<I", size))

    return change


MANIFEST = {"schema": "edgeimg-manifest-1", "image": {}}
CASES: dict[str, tuple[Change, int, str]] = {
    "a manifest of 200 MiB": (
        lambda image: root({PATH: b" " * (200 * MIB), OS_RELEASE: b""})(image),
        14,
        "no readable /usr/share/edgeimg",
    ),
    "an os-release of 200 MiB": (
        lambda image: root({PATH: b"{}", OS_RELEASE: b" " * (200 * MIB)})(image),
        14,
        "no readable /usr/lib/os-release",
    ),
    "a manifest of a million brackets": (
        root({PATH: b"[" * 1_000_000, OS_RELEASE: b""}), 14, "manifest is damaged"
    ),
    "a manifest with a schema of 8 MiB": (
        root({PATH: json.dumps({"schema": "x" * (8 * MIB)}).encode(), OS_RELEASE: b""}),
        14,
        "has the schema",
    ),
    "a manifest without fields": (
        root({PATH: json.dumps(MANIFEST).encode(), OS_RELEASE: b""}), 14, "manifest is damaged"
    ),
    "a manifest that is a link": (
        root({PATH: "/etc/passwd", OS_RELEASE: b""}), 14, "manifest is damaged|no readable"
    ),
    "no manifest": (root({OS_RELEASE: b""}), 14, f"no readable /{PATH}"),
    "another root": (
        lambda image: image.write(image.plan["root-a"].start + 4096, b"x"),
        14,
        "does not match its root hash",
    ),
    "a root hash that is not hexadecimal": (
        lambda image: image.replace(image.root_hash.encode(), b"g" * 64), 14, "names no root hash"
    ),
    "a root hash of no partition": (
        lambda image: image.replace(image.root_hash.encode(), b"0" * 64), 14, "has no partition"
    ),
    "a root beyond the disk": (length("root-a", 1 << 50), 14, "partition .* ends beyond it"),
    "a root of one sector": (length("root-a", 1), 14, "does not match its root hash"),
    "a boot entry of 4 GiB": (claims(0xFFFFFFFF), 14, "files that are larger than it"),
    "a boot entry of 100 bytes": (claims(100), 14, "no unified kernel image"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tiny: TinyImages, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return tiny.make(X86_64, {}, tmp_path_factory.mktemp("good"))


@pytest.fixture
def image(made: Packed, tiny: TinyImages, tmp_path: Path) -> Image:
    """A copy of the image, to be changed."""
    path = tmp_path / "x.raw"
    sparse.clone(made.raw, path)
    return Image(path=path, plan=made.plan, root_hash=made.root_hash, tools=tiny.pack)


def inspect(path: Path) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))

    return subprocess.run(
        [sys.executable, "-m", "edgeimg", "inspect", "--json", path],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS,
        preexec_fn=limited,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_the_right_exit_code(image: Image, name: str) -> None:
    change, code, says = CASES[name]
    change(image)
    done = inspect(image.path)
    assert_one_error(done, code, says)
    assert max(map(len, done.stderr.splitlines())) < 3000


def test_a_replaced_root_with_its_own_root_hash_is_read(tiny: TinyImages, image: Image) -> None:
    root({PATH: tiny.contents(X86_64).file(), OS_RELEASE: b'ID="other"\n'})(image)
    done = inspect(image.path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["os_release"] == {"ID": "other"}
    assert found["root_hash"] != image.root_hash


def test_a_bomb_is_read_as_far_as_the_disk_reaches(made: Packed, tmp_path: Path) -> None:
    path, zeros = tmp_path / "x.raw.zst", zstandard.compress(bytes(1 << 30))
    with path.open("wb") as packed:
        with made.raw.open("rb") as raw:
            zstandard.ZstdCompressor(level=1).copy_stream(raw, packed)
        for _ in range(50):
            packed.write(zeros)
    assert_one_error(inspect(path), 14, "more than the [0-9]+ bytes that its partition")
