"""K3s binaries taken apart: the right one becomes a tree, every wrong one a clear error."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError, ArchiveError, DigestError, EdgeimgError
from edgeimg.sources import k3s, k3s_asset
from edgeimg.sources.k3s import K3sBundle
from edgeimg.streams.limits import UNTRUSTED
from edgeimg.tree import Kind

from tests.fake_k3s import VERSION, FakeK3s, build_info, elf, member, pack


def unpack(
    tmp_path: Path, data: bytes, arch: Arch = X86_64, version: str | None = None
) -> K3sBundle:
    binary = tmp_path / "k3s"
    binary.write_bytes(data)
    return k3s.unpack(binary, arch, Store(tmp_path / "cache"), source="release", version=version)


def refused(tmp_path: Path, data: bytes, kind: type[EdgeimgError], arch: Arch = X86_64) -> str:
    with pytest.raises(kind) as caught:
        unpack(tmp_path, data, arch)
    assert not list((tmp_path / "cache").glob("derived/*"))
    return caught.value.message


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_release_becomes_a_tree(tmp_path: Path, arch: Arch) -> None:
    fake = FakeK3s(arch)
    bundle = unpack(tmp_path, fake.binary(), arch, VERSION)
    name = hashlib.sha256(fake.frames()[0]).hexdigest()
    assert (bundle.version, bundle.data_hash, bundle.standin) == (VERSION, name, False)
    tree = bundle.tree
    assert tree["usr/lib/k3s/current"].target == f"data/{name}"
    assert tree.resolve("usr/bin/kubectl") == f"usr/lib/k3s/data/{name}/bin/k3s"
    assert tree.read("usr/bin/ctr") == fake.programs["k3s"]
    assert tree.read("usr/lib/k3s/current/bin/bridge") == fake.programs["cni"]
    assert "usr/bin/crictl" not in tree, "a link to what this K3s does not have"
    assert json.loads(tree.read("usr/share/edgeimg/k3s.json")) == {
        "version": VERSION,
        "source": "release",
        "standin": False,
        "data_hash": name,
    }


def test_owners_and_modes_of_the_build_machine_are_dropped(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    fake.extra = [(member("./etc/setuid", mode=0o6777), b"")]
    for path, node in unpack(tmp_path, fake.binary()).tree.items():
        assert (node.uid, node.gid) == (0, 0), path
        assert node.mode in ((0o777,) if node.kind is Kind.SYMLINK else (0o755, 0o644)), path


def test_the_second_time_nothing_is_unpacked(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    first = unpack(tmp_path, fake.binary())
    (made,) = (tmp_path / "cache/derived").iterdir()
    before = (made / "data.tar").stat()
    again = unpack(tmp_path, fake.binary())
    assert (made / "data.tar").stat() == before
    assert again.tree.digest() == first.tree.digest()


def test_the_standin_says_so_wherever_it_comes_from(tmp_path: Path) -> None:
    fake = FakeK3s(
        X86_64, wrapper_info=build_info("path\tx\nmod\tedgeimg.local/standin\t(devel)\n")
    )
    text = "mod\tedgeimg.local/standin\t(devel)\ndep\tk8s.io/kubernetes\tv1.36.3\th1:x=\n"
    fake.programs["k3s"] = elf(X86_64, build_info(text))
    bundle = unpack(tmp_path, fake.binary())
    assert (bundle.standin, bundle.version) == (True, "v1.36.3+standin")


def test_a_version_that_the_program_does_not_tell_is_the_locks(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64, wrapper_info=b"")
    assert unpack(tmp_path, fake.binary(), version="v1.2.3+k3s4").version == "v1.2.3+k3s4"
    assert unpack(tmp_path, fake.binary()).version == "unknown"


def test_another_version_than_the_locks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is K3s v1\.35\.0\+k3s1, expected v1\.36\.0\+k3s1"):
        unpack(tmp_path, FakeK3s(X86_64).binary(), version="v1.36.0+k3s1")


@pytest.mark.parametrize(
    ("made_for", "image"), [(ARM64, X86_64), (X86_64, ARM), (ARM, ARM64)], ids=lambda a: a.name
)
def test_another_architectures_wrapper(tmp_path: Path, made_for: Arch, image: Arch) -> None:
    message = refused(tmp_path, FakeK3s(made_for).binary(), ArchitectureError, image)
    assert f"is a program for {made_for.name}, but the image is for {image.name}" in message


def test_another_architectures_program_inside(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    fake.programs["cni"] = elf(ARM64)
    message = refused(tmp_path, fake.binary(), ArchitectureError)
    assert message.startswith("bin/cni in the K3s binary k3s is a program for arm64")


def test_an_unknown_machine_is_named() -> None:
    header = bytearray(elf(X86_64)[:20])
    header[18] = 243
    assert k3s_asset.machine(bytes(header)) == "EM_RISCV, 64-bit"
    header[5] = 2
    assert k3s_asset.machine(bytes(header)).endswith("64-bit, big endian")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_binary(tmp_path: Path, share: float) -> None:
    data = FakeK3s(X86_64).binary()
    message = refused(tmp_path, data[: max(int(len(data) * share), 1)], ArchiveError)
    assert "truncated" in message or "no ELF header" in message


def test_a_byte_of_the_asset_changed(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    (frame,) = fake.frames()
    data = bytearray(fake.binary())
    data[bytes(data).index(frame) + len(frame) // 2] ^= 1
    assert "is damaged: its asset has the sha256" in refused(tmp_path, bytes(data), DigestError)


def test_a_name_that_is_not_the_assets(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    name = b"embed/" + b"0" * 64 + b".tar.zst"
    message = refused(tmp_path, fake.wrap(name, fake.frames()), DigestError)
    assert "expected " + "0" * 64 in message


def test_two_assets(tmp_path: Path) -> None:
    message = refused(tmp_path, FakeK3s(X86_64, names=2).binary(), ArchiveError)
    assert "carries 2 assets, expected one" in message


def test_a_second_frame_without_a_name_is_of_no_interest(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    (frame,) = fake.frames()
    name = hashlib.sha256(frame).hexdigest()
    data = fake.wrap(f"{name}.tar.zst".encode(), [pack(b"other"), frame])
    assert unpack(tmp_path, data).data_hash == name


@pytest.mark.parametrize("data", [elf(X86_64, b"a program"), elf(X86_64, b"\x28\xb5\x2f\xfd")])
def test_a_program_that_is_no_k3s(tmp_path: Path, data: bytes) -> None:
    assert "carries no <sha256>.tar.zst" in refused(tmp_path, data, ArchiveError)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    assert "no ELF header" in refused(tmp_path, b"<html>404</html>" * 9, ArchiveError)


@pytest.mark.parametrize(
    ("listname", "old", "new", "kind", "expected"),
    [
        (".sha256sums", "  cni", "  cnx", ArchiveError, "bin/cnx is in its bin/.sha256sums"),
        (".sha256sums", "\n", "\nzz  k3s\n", DigestError, "bin/k3s has the sha256"),
        (".sha256sums", "  k3s\n", "\n", ArchiveError, "malformed line"),
        (".links", "ctr k3s", "ctr cni", DigestError, "bin/ctr leads to 'k3s'"),
        (".links", "ctr k3s", "crictl k3s", ArchiveError, "bin/crictl is in its bin/.links"),
        (".links", "ctr k3s", "ctr", ArchiveError, "malformed line 'ctr'"),
    ],
)
def test_lists_that_do_not_fit(
    tmp_path: Path, listname: str, old: str, new: str, kind: type[EdgeimgError], expected: str
) -> None:
    fake = FakeK3s(X86_64)
    fake.edit_lists = lambda name, text: text.replace(old, new) if name == listname else text
    assert expected in refused(tmp_path, fake.binary(), kind)


def test_a_file_in_no_list(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    fake.extra = [(member("./bin/aux/backdoor", size=1), b"x")]
    assert "bin/aux/backdoor is not in" in refused(tmp_path, fake.binary(), ArchiveError)


@pytest.mark.parametrize("needed", ["k3s", "containerd"])
def test_without_what_the_image_needs(tmp_path: Path, needed: str) -> None:
    fake = FakeK3s(X86_64)
    fake.programs.pop(needed, None)
    fake.links.pop(needed, None)
    assert f"carries no bin/{needed}" in refused(tmp_path, fake.binary(), ArchiveError)


@pytest.mark.parametrize(
    "hostile",
    [
        member("../../etc/passwd", size=1),
        member("/etc/passwd", size=1),
        member("./bin/ctr/x", size=1),
        member("./bin/null", tarfile.CHRTYPE),
        member("./bin/hard", tarfile.LNKTYPE, target="../../etc/shadow"),
        member("./bin/k3s", size=1),
    ],
    ids=lambda info: info.name,
)
def test_hostile_archives(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    fake = FakeK3s(X86_64)
    fake.extra = [(hostile, b"x" * hostile.size)]
    refused(tmp_path, fake.binary(), ArchiveError)


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k3s, "_LIMITS", replace(UNTRUSTED, bytes=1 << 20))
    fake = FakeK3s(X86_64)
    fake.extra = [(member("./etc/zeros", size=2 << 20), bytes(2 << 20))]
    assert "refused as a bomb" in refused(tmp_path, fake.binary(), ArchiveError)


def test_more_window_than_k3s_uses(tmp_path: Path) -> None:
    fake = FakeK3s(X86_64)
    frame = pack(fake.tar(), window_log=28)
    name = hashlib.sha256(frame).hexdigest()
    message = refused(tmp_path, fake.wrap(f"{name}.tar.zst".encode(), [frame]), ArchiveError)
    assert "its asset is damaged" in message


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_frame_sizes_are_those_of_the_compressor(size: int, checksum: bool, known: bool) -> None:
    content = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=known)
    frame = compressor.compress(content) if known else _streamed(compressor, content)
    data = b"xx" + frame + b"trailing"
    assert k3s_asset.frame_size(data, 2, len(data)) == len(frame)
    for end in range(2, 2 + len(frame), max(len(frame) // 50, 1)):
        assert k3s_asset.frame_size(data, 2, end) == 0


def _streamed(compressor: zstandard.ZstdCompressor, content: bytes) -> bytes:
    stream = compressor.compressobj()
    return stream.compress(content) + stream.flush()
