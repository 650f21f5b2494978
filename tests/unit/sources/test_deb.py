"""Debian packages: read as trees, and every hostile or damaged one refused by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from edgeimg.cache.store import Store
from edgeimg.errors import ArchiveError, DamageError, DigestError, LockError
from edgeimg.lock.model import Package
from edgeimg.sources import archive, deb
from edgeimg.streams import limits
from edgeimg.tree import Kind, Span

from tests.samples import Member, ar, deb_bytes, member, read_deb, tar

CONTROL = tar([member("./control", b"Package: sample\nVersion: 1.0\n")])


def test_a_sound_package(tmp_path: Path) -> None:
    members = [
        member("./", type=tarfile.DIRTYPE, mode=0o755),
        member("./usr/", type=tarfile.DIRTYPE, mode=0o755),
        member("./usr/bin/tool", b"#!/bin/sh\n", mode=0o4755),
        member("./usr/bin/alias", type=tarfile.SYMTYPE, link="tool"),
        member("./usr/bin/hard", type=tarfile.LNKTYPE, link="./usr/bin/tool"),
        member("./etc/tool.conf", b"x=1\n"),
    ]
    control = "Description: a tool\n long text\n .\n more\n"
    package = read_deb(deb_bytes(members, control=control, conffiles="/etc/tool.conf\n"), tmp_path)
    assert (package.name, package.version) == ("sample", "1.0")
    assert package.control["Description"] == "a tool\n long text\n .\n more"
    assert package.conffiles == ("etc/tool.conf",)
    tool, hard = package.tree["usr/bin/tool"], package.tree["usr/bin/hard"]
    assert (tool.mode, tool.read(), tool.origin) == (0o4755, b"#!/bin/sh\n", "package:sample")
    assert isinstance(tool.content, Span)
    assert hard.content == tool.content
    assert package.tree["usr/bin/alias"].target == "tool"
    assert package.tree["etc"].kind is Kind.DIRECTORY


def test_control_files_have_a_limit(tmp_path: Path) -> None:
    largest = "/etc/x\n" * ((16 << 20) // 7 - 20)
    assert read_deb(deb_bytes([], conffiles=largest), tmp_path).name == "sample"
    with pytest.raises(ArchiveError, match=r"files of control\.tar\.xz are larger than 16 MiB"):
        read_deb(deb_bytes([], conffiles=f"{largest}{'x' * 1000}"), tmp_path)


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (
            "Template: firmware-x/license/accepted\nType: boolean\nDefault: false\n"
            "Description: Do you agree to the licence?\n Terms follow.\n",
            "Do you agree to the licence?",
        ),
        (
            "Template: x/mode\nType: string\nDescription: Mode of x\n\n"
            "Template: shared/accepted-EULA\nType: select\nDescription: Terms of x\n",
            "Terms of x",
        ),
        (
            "Template: x/mode\nType: string\nDescription: Mode\n The license is MIT.\n",
            "",
        ),
    ],
)
def test_the_consent_that_a_package_asks_for(tmp_path: Path, template: str, question: str) -> None:
    control = tar(
        [
            member("./control", b"Package: sample\nVersion: 1.0\n"),
            member("./templates", template.encode()),
        ]
    )
    data = ar({"debian-binary": b"2.0\n", "control.tar": control, "data.tar": tar([])})
    assert read_deb(data, tmp_path).licence_question == question


def test_a_second_read_does_not_unpack_again(tmp_path: Path) -> None:
    data = deb_bytes([member("./x", b"1")])
    first = read_deb(data, tmp_path)
    (tmp_path / f"{hashlib.sha256(data).hexdigest()}.deb").unlink()
    path = tmp_path / "gone.deb"
    again = deb.read(path, first.sha256, store=Store(tmp_path / "cache"), origin="package:sample")
    assert again.tree.digest() == first.tree.digest()


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".xz", lzma.compress),
        (".gz", gzip.compress),
        (".zst", zstandard.ZstdCompressor().compress),
        ("", bytes),
    ],
)
def test_every_compression(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    content = bytes(range(256)) * 9000
    data = ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{suffix}": compress(CONTROL),
            f"data.tar{suffix}": compress(tar([member("./x", content)])),
        }
    )
    assert read_deb(data, tmp_path).tree["x"].read() == content


HOSTILE: dict[str, tuple[list[Member], str]] = {
    "absolute": ([member("/etc/passwd", b"x")], "absolute"),
    "climbing": ([member("./../etc/passwd", b"x")], "leaves its tree"),
    "climbing inside": ([member("./a/../../etc/passwd", b"x")], "leaves its tree"),
    "through a link out": (
        [member("./usr", type=tarfile.SYMTYPE, link="/"), member("./usr/x", b"x")],
        "is below /usr",
    ),
    "link made later": (
        [member("./usr/x", b"x"), member("./usr", type=tarfile.SYMTYPE, link="..")],
        "is below /usr",
    ),
    "below a file": ([member("./a", b"x"), member("./a/b/c", b"x")], "is below /a"),
    "character device": ([member("./dev/null", type=tarfile.CHRTYPE)], "device"),
    "block device": ([member("./dev/sda", type=tarfile.BLKTYPE)], "device"),
    "fifo": ([member("./run/pipe", type=tarfile.FIFOTYPE)], "fifo"),
    "unknown type": ([member("./x", type=b"Z")], "of an unknown type"),
    "twice, different content": (
        [member("./a", b"1"), member("./a", b"2")],
        "duplicate /a with different content",
    ),
    "twice, different mode": (
        [member("./a", b"1"), member("./a", b"1", mode=0o4755)],
        "duplicate /a with different content",
    ),
    "twice, different type": (
        [member("./a", b"1"), member("./a", type=tarfile.SYMTYPE, link="b")],
        "duplicate /a with different content",
    ),
    "hard link to nothing": ([member("./a", type=tarfile.LNKTYPE, link="./b")], "hard link"),
    "hard link out": ([member("./a", type=tarfile.LNKTYPE, link="../../x")], "leaves its tree"),
    "hard link to the host": (
        [member("./a", type=tarfile.LNKTYPE, link="/etc/shadow")],
        "absolute",
    ),
    "link to nowhere": ([member("./a", type=tarfile.SYMTYPE, link="")], "leads nowhere"),
    "root as a file": ([member("./", b"x")], "root|directory"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, name: str) -> None:
    members, says = HOSTILE[name]
    with pytest.raises(ArchiveError, match=says) as caught:
        read_deb(deb_bytes(members), tmp_path)
    assert "package:sample" in caught.value.message
    assert list((tmp_path / "cache/derived").iterdir()) == []


def test_the_same_member_twice_is_harmless(tmp_path: Path) -> None:
    package = read_deb(deb_bytes([member("./a", b"1"), member("./a", b"1")]), tmp_path)
    assert package.tree["a"].read() == b"1"


def test_links_that_point_anywhere_are_only_text(tmp_path: Path) -> None:
    members = [member("./etc/x", type=tarfile.SYMTYPE, link="/../../outside")]
    assert read_deb(deb_bytes(members), tmp_path).tree["etc/x"].target == "/../../outside"


@pytest.mark.parametrize("suffix", [".xz", ".zst", ".gz"])
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(limits, "UNTRUSTED", replace(limits.UNTRUSTED, free=1 << 20))
    compress = {
        ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress,
        ".gz": gzip.compress,
    }[suffix]
    bomb = compress(bytes(8 << 20))
    data = ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(CONTROL),
            f"data.tar{suffix}": bomb,
        }
    )
    with pytest.raises(ArchiveError, match=r"data\.tar.* more than .* bomb"):
        read_deb(data, tmp_path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNTRUSTED", replace(limits.UNTRUSTED, nodes=10))
    members = [member(f"./{number}") for number in range(11)]
    with pytest.raises(ArchiveError, match="more than 10 members"):
        read_deb(deb_bytes(members), tmp_path)


def test_truncated_packages_are_refused_wherever_they_end(tmp_path: Path) -> None:
    whole = deb_bytes([member("./a", bytes(range(256)) * 40)])
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(ArchiveError):
            read_deb(whole[:length], tmp_path)


def test_truncated_tar_is_refused(tmp_path: Path) -> None:
    whole = tar([member("./a", b"x" * 2000), member("./b", b"y" * 2000)])
    for length in (512, 1000, 1024, 2560, 3000, 3072, 3584, 5120):
        data = ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar": CONTROL,
                "data.tar": whole[:length],
            }
        )
        with pytest.raises(ArchiveError, match=r"data\.tar"):
            read_deb(data, tmp_path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an ar archive"),
        (b"PK\3\4" + bytes(100), "not an ar archive"),
        (b"!<arch>\n" + b"x" * 80, "damaged"),
        (ar({"debian-binary": b"2.0\n"}), "not a Debian package"),
        (ar({"debian-binary": b"2.0\n", "control.tar.xz": b"", "evil": b""}), "not a Debian"),
        (
            ar({"debian-binary": b"2.0\n", "control.tar.lz4": b"", "data.tar.lz4": b""}),
            "unknown method",
        ),
        (
            ar({"debian-binary": b"2.0\n", "control.tar.xz": b"nonsense", "data.tar": b""}),
            "is damaged",
        ),
    ],
)
def test_garbage_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        read_deb(data, tmp_path)


def test_garbage_after_the_compressed_data_is_refused(tmp_path: Path) -> None:
    data = ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(CONTROL),
            "data.tar.xz": lzma.compress(tar([])) + b"garbage",
        }
    )
    with pytest.raises(ArchiveError, match="garbage"):
        read_deb(data, tmp_path)


def test_a_package_without_a_name_is_refused(tmp_path: Path) -> None:
    data = ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar": tar([member("./control", b"Version: 1\n")]),
            "data.tar": tar([]),
        }
    )
    with pytest.raises(ArchiveError, match="names no package"):
        read_deb(data, tmp_path)


def test_a_tampered_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(deb_bytes([member("./a", b"1")]))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(deb_bytes([member("./a", b"2")]))
    with pytest.raises(DigestError, match="package:sample"):
        deb.read(path, digest, store=Store(tmp_path / "cache"), origin="package:sample")


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = bytearray(deb_bytes([member("./usr/bin/x", b"content " * 500, mode=0o755)]))
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41
        try:
            read_deb(bytes(damaged), tmp_path)
        except ArchiveError as error:
            assert "sample" in error.message


def test_ar_members_know_where_they_are() -> None:
    data = ar({"one": b"abc", "two/": b"defg"})
    members = archive.ar_members(io.BytesIO(data), "x")
    assert [(m.name, data[m.offset : m.offset + m.size]) for m in members] == [
        ("one", b"abc"),
        ("two", b"defg"),
    ]


def locked(data: bytes, **changes: object) -> Package:
    """The lock's row of a package of `deb_bytes`."""
    row = {
        "name": "sample",
        "version": "1.0",
        "arch": "all",
        "archive": "debian",
        "path": "pool/main/s/sample/sample_1.0_all.deb",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Package(**{**row, **changes})  # type: ignore[arg-type]


@pytest.fixture
def blobs(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cache")
    (store.root / "blobs").mkdir(parents=True)
    return store


DATA = deb_bytes([member("./x", b"1")])


def put(blobs: Store, data: bytes) -> Path:
    path = blobs.blob(hashlib.sha256(data).hexdigest())
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "nftables"}, "names the package nftables 1.0 all, but .* is sample 1.0 all"),
        ({"version": "9999"}, "sample 9999 all, but .* is sample 1.0 all"),
        ({"arch": "amd64"}, "sample 1.0 amd64, but .* is sample 1.0 all"),
        ({"size": len(DATA) - 1}, f"has {len(DATA)} bytes, but its row .* {len(DATA) - 1}"),
        ({"size": 99_000_000_000}, "99000000000"),
    ],
)
def test_a_row_of_another_package_is_refused(
    blobs: Store, changes: dict[str, object], message: str, *, unpacked: bool
) -> None:
    put(blobs, DATA)
    if unpacked:
        deb.read_blob(locked(DATA), blobs=blobs, store=blobs)
    with pytest.raises(LockError, match=message) as caught:
        deb.read_blob(locked(DATA, **changes), blobs=blobs, store=blobs)
    assert caught.value.hint
    assert deb.read_blob(locked(DATA), blobs=blobs, store=blobs).name == "sample"


@pytest.mark.parametrize("damaged", [DATA[:-1], DATA[:-1] + b"x", DATA + b"x", b""])
def test_a_damaged_blob_is_removed_whatever_its_size(blobs: Store, damaged: bytes) -> None:
    path = put(blobs, DATA)
    path.write_bytes(damaged)
    with pytest.raises(DamageError, match="package:sample in the cache"):
        deb.read_blob(locked(DATA), blobs=blobs, store=blobs)
    assert not path.exists()


@pytest.mark.parametrize(
    "control",
    [
        "\nPackage: other\nVersion: 2\n",
        "\n \nDescription: x\n",
        "Package: other\n",
        "package: other\n",
        "Version: 1.0\n",
        "Section: x\nsection: y\n",
        "Section: a\0b\n",
        "Section: a\x1b[31mb\n",
        "Section: a\rb\n",
        "Description: x\n a\0b\n",
        "Sec tion: x\n",
        ": x\n",
        "-----BEGIN: x\n",
        "#Section: x\n",
    ],
)
def test_a_control_file_is_one_plain_paragraph(tmp_path: Path, control: str) -> None:
    with pytest.raises(ArchiveError, match="control file"):
        read_deb(deb_bytes([member("./x", b"1")], control=control), tmp_path)


def test_a_control_file_may_have_much(tmp_path: Path) -> None:
    control = "Description: ä ö\n\tlong\n .\n 漢字\nX-A-1: \n\n\n"
    found = read_deb(deb_bytes([member("./x", b"1")], control=control), tmp_path)
    assert found.control["Description"] == "ä ö\n\tlong\n .\n 漢字"
    assert found.control["X-A-1"] == ""


def test_a_control_file_may_have_the_line_ends_of_other_systems(tmp_path: Path) -> None:
    control = "X-A: one\r\nDescription: x\r\n y\r\n"
    found = read_deb(deb_bytes([member("./x", b"1")], control=control), tmp_path)
    assert found.control["X-A"] == "one"
    assert found.control["Description"] == "x\n y"


def test_a_large_control_file_is_read_at_once(tmp_path: Path) -> None:
    control = "".join(f"X-{number}: y\n" for number in range(20_000)) + "D: x\n" + " z\n" * 200_000
    found = read_deb(deb_bytes([member("./x", b"1")], control=control), tmp_path)
    assert len(found.control) == 20_004
