"""What pack made, read back by other tools; and made twice, compared byte by byte."""

from __future__ import annotations

import filecmp
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from edgeimg import tree
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.cache.store import sha256_file
from edgeimg.errors import ImageError
from edgeimg.image import bmap
from edgeimg.inspect.image import inspect_image
from edgeimg.pack import disk, erofs, fat, image, initrd, publish
from edgeimg.pack.image import Packed
from edgeimg.services.layout import SERVICES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def packed(tiny, tmp_path_factory) -> Packed:
    return tiny.make(X86_64, {}, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def published(tiny, packed: Packed, publish_image, tmp_path_factory) -> publish.Published:
    return publish_image(tiny, packed, tmp_path_factory.mktemp("out"))


def test_partition_table_as_sfdisk_reads_it(tiny, packed: Packed) -> None:
    table = json.loads(tiny.pack.run("sfdisk", "-J", packed.raw, timeout=60))["partitiontable"]
    rows = table["partitions"]
    assert [row["name"] for row in rows] == [
        "esp", "gateway_0.1.0", "gateway_0.1.0_verity", "_empty", "_empty", "config",
    ]  # fmt: skip
    assert rows[1]["type"].lower() == X86_64.root_type
    assert (rows[1]["uuid"] + rows[2]["uuid"]).replace("-", "").lower() == packed.root_hash
    assert rows[1]["attrs"] == rows[2]["attrs"] == "GUID:60"
    assert all(row["start"] % 2048 == 0 for row in rows)
    assert len({row["uuid"] for row in rows}) == len(rows)
    assert b"No errors detected" in tiny.pack.run("sfdisk", "--verify", packed.raw, timeout=60)


def test_file_systems_are_sound(tiny, packed: Packed) -> None:
    work = packed.raw.parent
    for name in ("esp.fat", "config.fat"):
        tiny.pack.run("fsck.fat", "-n", "-v", work / name, timeout=60)
    root = packed.raw.open("rb")
    with root, (work / "root.img").open("wb") as copy:
        root.seek(packed.plan["root-a"].start)
        copy.write(root.read(packed.sizes["root"]))
    erofs.check(work / "root.img", toolbox=tiny.pack)
    tiny.pack.run(
        "veritysetup", "verify", work / "root.img", work / "root.verity", packed.root_hash,
        timeout=60,
    )  # fmt: skip


def test_what_containers_share_is_one_inode(tiny, tmp_path: Path) -> None:
    program = tree.file(os.urandom(1 << 20), mode=0o755)
    copies = [f"{SERVICES}/{name}/rootfs/usr/bin/program" for name in ("a", "b")]
    files = dict.fromkeys((*copies, "usr/lib/program"), program)
    source = tiny.source(X86_64, files)
    root = image.make_root(source, store=tiny.cache, toolbox=tiny.pack)
    alone = image.make_root(
        tiny.source(X86_64, {"usr/lib/program": program}), store=tiny.cache, toolbox=tiny.pack
    )
    assert root.stat().st_size - alone.stat().st_size < 1 << 16
    erofs.check(root, toolbox=tiny.pack)
    numbers = set()
    for path in (*copies, "usr/lib/program"):
        told = tiny.pack.run("dump.erofs", f"--path=/{path}", root, timeout=60).decode()
        numbers.add(re.search(r"NID: (\d+)\s+Links: 3", told)[1])
        content = tiny.pack.run("dump.erofs", "--cat", f"--path=/{path}", root, timeout=60)
        assert content == program.read()
    assert len(numbers) == 1


def test_esp_follows_the_boot_loader_specification(tiny, packed: Packed) -> None:
    esp = packed.raw.parent / "esp.fat"
    assert fat.names(esp, "EFI/Linux", toolbox=tiny.pack) == ["gateway_0.1.0+3.efi"]
    assert fat.names(esp, "EFI/BOOT", toolbox=tiny.pack) == ["BOOTX64.EFI"]
    assert fat.names(esp, "EFI/systemd", toolbox=tiny.pack) == ["systemd-bootx64.efi"]
    assert b"timeout 0" in tiny.pack.run("mtype", "-i", esp, "::loader/loader.conf", timeout=60)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_initrd_is_small_and_complete(tiny, arch: Arch, tmp_path: Path) -> None:
    path = image.make_initrd(tiny.source(arch, {}), store=tiny.cache, toolbox=tiny.pack)
    assert path.stat().st_size < 8 << 20
    archive = tiny.pack.run("zstd", "-dc", path, timeout=60)
    (tmp_path / "x").mkdir()
    busybox = tiny.trees(X86_64, "initrd")["busybox-static"].tree["usr/bin/busybox"].read()
    (tmp_path / "busybox").write_bytes(busybox)
    (tmp_path / "busybox").chmod(0o755)
    root = tmp_path / "x"
    # Unpacked by a reader that is not ours.
    subprocess.run([tmp_path / "busybox", "cpio", "-id"], cwd=root, input=archive, check=True)
    for name in ("init", "usr/bin/busybox", "usr/sbin/dmsetup", "bin/sh", "sbin/modprobe"):
        assert os.path.lexists(root / name), name
    assert (root / f"usr{arch.loader}").is_file()
    modules = {path.stem for path in root.rglob("*.ko")}
    assert {"virtio_blk", "dm-verity", "erofs", "overlay", "ext4", "nvme", "uas"} <= modules
    used = set(initrd.APPLETS) - {"sh"}
    known = subprocess.run([tmp_path / "busybox", "--list"], capture_output=True, check=True)
    assert used <= set(known.stdout.decode().split())


def test_published_files(
    tiny, packed: Packed, published: publish.Published, tmp_path: Path
) -> None:
    names = [file.name for file in published.files]
    base = "gateway_0.1.0_x86-64"
    assert names == [f"{base}.bmap", f"{base}.manifest.json", f"{base}.raw.zst"]
    assert sorted(path.name for path in published.directory.iterdir()) == ["SHA256SUMS", *names]
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=published.directory, check=True)
    image = published.directory / f"{base}.raw.zst"
    tiny.pack.run("zstd", "-t", image, timeout=60)
    tiny.pack.run("zstd", "-d", image, "-o", tmp_path / "x.raw", timeout=60)
    assert filecmp.cmp(tmp_path / "x.raw", packed.raw, shallow=False)
    told = json.loads((published.directory / f"{base}.manifest.json").read_bytes())
    assert told["root_hash"] == packed.root_hash
    assert told["disk"]["partitions"][1]["label"] == "gateway_0.1.0"


def test_block_map_suffices_to_flash(packed: Packed, tmp_path: Path, tiny) -> None:
    """Writing the mapped blocks over garbage gives partitions that prove and boot."""
    sizes = {"root-a": packed.sizes["root"], "root-a-verity": packed.sizes["verity"]}
    mapped = bmap.ranges(packed.plan, bmap.content_sizes(packed.raw, packed.plan, sizes))
    target = tmp_path / "disk.raw"
    with packed.raw.open("rb") as source, target.open("wb") as out:
        for _ in range(packed.plan.size >> 20):
            out.write(b"\xa5" * (1 << 20))
        for first, last in mapped:
            source.seek(first * bmap.BLOCK)
            out.seek(first * bmap.BLOCK)
            out.write(source.read((last - first + 1) * bmap.BLOCK))
    found = inspect_image(target, toolbox=tiny.pack, work=tmp_path)
    assert found.root_hash == packed.root_hash
    for name in ("esp", "config"):
        part = packed.plan[name]
        with target.open("rb") as disk:
            disk.seek(part.start)
            (tmp_path / name).write_bytes(disk.read(part.size))
        tiny.pack.run("fsck.fat", "-n", tmp_path / name, timeout=60)


def test_inspect_agrees_with_what_was_built(
    tiny, packed: Packed, published: publish.Published, tmp_path: Path
) -> None:
    compressed = published.directory / "gateway_0.1.0_x86-64.raw.zst"
    for path in (packed.raw, compressed):
        found = inspect_image(path, toolbox=tiny.pack, work=tmp_path)
        assert found.root_hash == packed.root_hash
        assert found.disk.size == packed.plan.size
        assert found.disk.uuid == packed.plan.uuid
        assert [part.uuid for part in found.disk.partitions] == [
            part.uuid for part in packed.plan.partitions
        ]
        assert found.boot_entry == "gateway_0.1.0+3.efi"
        assert found.uki.cmdline == packed.cmdline
        assert found.uki.profiles == ("main", "reset")
        assert found.os_release["PRETTY_NAME"] == "Tiny test system"
        assert found.contents == tiny.contents(X86_64)
        json.dumps(found.to_json())


def _damaged(kind: str, raw: Path, compressed: Path) -> bytes:
    match kind:
        case "empty":
            return b""
        case "text":
            return b"This is no image.\n" * 1000
        case "zeros":
            return bytes(1 << 20)
        case "truncated":
            return compressed.read_bytes()[:-5000]
        case "corrupt":
            data = bytearray(compressed.read_bytes())
            data[len(data) // 2] ^= 0xFF
            return bytes(data)
        case "zstd of text":
            return zstandard.compress(b"nothing" * 100)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["empty", "text", "zeros", "truncated", "corrupt", "zstd of text"])
def test_inspect_refuses_other_files(
    kind: str, tiny, packed: Packed, published: publish.Published, tmp_path: Path
) -> None:
    path = tmp_path / "some.img"
    path.write_bytes(_damaged(kind, packed.raw, published.directory / published.files[2].name))
    with pytest.raises(ImageError) as error:
        inspect_image(path, toolbox=tiny.pack, work=tmp_path)
    assert "\n" not in error.value.message


def damaged_copy(raw: Path, directory: Path, place: int, size: int = 1) -> Path:
    """A copy of an image with other bytes at `place`, from the end when it is negative."""
    path = directory / "disk.raw"
    subprocess.run(["cp", "--sparse=always", raw, path], check=True)
    with path.open("r+b") as file:
        file.seek(place, io.SEEK_SET if place >= 0 else io.SEEK_END)
        old = file.read(size)
        file.seek(-size, io.SEEK_CUR)
        file.write(bytes(byte ^ 0xFF for byte in old))
    return path


@pytest.mark.parametrize("partition", ["root-a", "root-a-verity", "esp"])
def test_inspect_notices_one_changed_byte(
    partition: str, tiny, packed: Packed, tmp_path: Path
) -> None:
    offset = {"root-a": 5000, "root-a-verity": 4096 + 5, "esp": 0}[partition]
    size = 1 if offset else 512
    path = damaged_copy(packed.raw, tmp_path, packed.plan[partition].start + offset, size)
    with pytest.raises(ImageError):
        inspect_image(path, toolbox=tiny.pack, work=tmp_path)


@pytest.mark.parametrize(
    ("place", "words"),
    [(512 + 40, "first"), (2 * 512, "first"), (-512 + 40, "second"), (-33 * 512, "second")],
    ids=["first header", "first entries", "second header", "second entries"],
)
def test_inspect_notices_a_damaged_partition_table(
    tiny, packed: Packed, tmp_path: Path, place: int, words: str
) -> None:
    """sfdisk(8) reads the other table, and its exit status is 0."""
    path = damaged_copy(packed.raw, tmp_path, place)
    assert disk.read(path, toolbox=tiny.pack).uuid == packed.plan.uuid
    with pytest.raises(ImageError, match=f"its {words} partition table"):
        inspect_image(path, toolbox=tiny.pack, work=tmp_path)


AGAIN = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {project!r}]
import conftest
from edgeimg.lock.file import read_lock
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.tools import Toolbox, build_host
tiny = conftest.TinyImages(
    Store(Path({cache!r})), read_lock(conftest.PROJECT / "recipes/gateway.lock.toml"),
    Toolbox(Path({tools!r}), build_host()),
)
packed = tiny.make(X86_64, {{}}, Path({work!r}))
conftest.publish_tiny(tiny, packed, Path({work!r}) / "out")
"""


def test_same_bytes_elsewhere(
    tiny, packed: Packed, published: publish.Published, tmp_path: Path
) -> None:
    """Another process, directory, umask, time zone, locale, user id and cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "blobs").symlink_to(tiny.cache.root / "blobs")
    work = tmp_path / "some where"
    work.mkdir()
    code = AGAIN.format(
        tests=str(Path(__file__).parents[1]),
        project=str(Path(__file__).parents[2]),
        cache=str(cache),
        tools=str(tiny.pack.root),
        work=str(work),
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={"PATH": os.environ["PATH"], "TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": "/"},
        umask=0o077,
        check=True,
    )
    assert sha256_file(work / "disk.raw") == sha256_file(packed.raw)
    for file in published.files:
        assert sha256_file(work / "out" / file.name) == file.sha256, file.name
