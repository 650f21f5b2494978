"""SHA256SUMS read strictly, directories held against it, and what of a rebuild is told."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from edgeimg.errors import VerifyError
from edgeimg.progress import Silent
from edgeimg.release import sums
from edgeimg.release.difference import compare
from edgeimg.release.verify import verify_release

EMPTY = hashlib.sha256(b"").hexdigest()


def fill(directory: Path, files: dict[str, bytes]) -> dict[str, str]:
    directory.mkdir(exist_ok=True, parents=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (directory / sums.NAME).write_bytes(sums.encode_sums(digests))
    return digests


def problems(directory: Path, digests: dict[str, str]) -> list[str]:
    return sums.check(directory, digests, besides={sums.NAME}, progress=Silent())


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    digests = fill(tmp_path, {"b.raw.zst": b"b", "a_1~2^3+4.bmap": b"", "B": b"x"})
    done = subprocess.run(["sha256sum", *sorted(digests)], cwd=tmp_path, capture_output=True)
    assert done.stdout == (tmp_path / sums.NAME).read_bytes()
    assert sums.parse(done.stdout, tmp_path / sums.NAME) == digests


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", EMPTY, f"{EMPTY}  a", f"{EMPTY} a\n", f"{EMPTY} *a\n", f"{EMPTY}  a\r\n",
        f"{EMPTY.upper()}  a\n", f"{EMPTY}  ../a\n", f"{EMPTY}  a/b\n", f"{EMPTY}  .hidden\n",
        f"{EMPTY}  a\n{EMPTY}  a\n", f"{EMPTY}  b\n{EMPTY}  a\n", f"{EMPTY}  a\n\n",
        f"{EMPTY}  ä\n", f"{EMPTY}  a\x0c{EMPTY}  b\n", f"\\{EMPTY}  a\n", f"{EMPTY}  a b\n",
    ],
)  # fmt: skip
def test_any_other_listing_is_refused(text: str) -> None:
    with pytest.raises(VerifyError):
        sums.parse(text.encode(), Path("SHA256SUMS"))


def test_every_problem_of_a_directory_is_told(tmp_path: Path) -> None:
    names = ("changed", "missing", "fine", "link", "directory")
    digests = fill(tmp_path, {name: name.encode() for name in names})
    assert problems(tmp_path, digests) == []
    (tmp_path / "changed").write_bytes(b"changeD")
    (tmp_path / "missing").unlink()
    (tmp_path / "link").rename(tmp_path / "target")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "directory").unlink()
    (tmp_path / "directory").mkdir()
    (tmp_path / ".hidden").touch()
    told = problems(tmp_path, digests)
    assert [line.split(":")[0] for line in told] == [
        ".hidden is not listed in SHA256SUMS",
        "target is not listed in SHA256SUMS",
        "missing is missing",
        "changed was changed",
        "directory is not a regular file",
        "link is not a regular file",
    ]


def test_without_a_key_nobody_vouches(tmp_path: Path) -> None:
    fill(tmp_path, {"a": b"a", "b": b"bb"})
    verified = verify_release(tmp_path, None)
    assert (verified.signer, verified.files, verified.size) == (None, 2, 3)
    assert verify_release(tmp_path / "b", None).files == 1
    with pytest.raises(VerifyError, match="is not signed"):
        verify_release(tmp_path, tmp_path / "a")
    with pytest.raises(VerifyError, match="a key is needed to verify"):
        verify_release(tmp_path / "SHA256SUMS", None)


def test_a_file_must_be_listed(tmp_path: Path) -> None:
    fill(tmp_path, {"a": b"a"})
    (tmp_path / "b").touch()
    with pytest.raises(VerifyError, match="b is not listed"):
        verify_release(tmp_path / "b", None)
    with pytest.raises(VerifyError, match="there is no SHA256SUMS"):
        verify_release(Path(__file__), None)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"files": 3}', b"\xff", b"1e999"]
)
@pytest.mark.parametrize("name", ["release.json", "a_1_arm.manifest.json", "a_1.intoto.json"])
def test_hostile_facts_are_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    fill(tmp_path, {name: content})
    (tmp_path / "evidence").mkdir()
    fill(tmp_path / "evidence", {"report.html": b""})
    with pytest.raises(VerifyError, match=r"is damaged|is missing|disagree"):
        verify_release(tmp_path, None)


def manifest(files: dict[str, list[object]], **facts: object) -> bytes:
    image = {"id": "gateway", "version": "1", "arch": "arm", "epoch": 1}
    return json.dumps(
        {
            "schema": "edgeimg-manifest-1",
            "image": image,
            "kernel": "6.12",
            "k3s": {"version": "v1", "source": "file", "sha256": "0", "standin": False},
            "root_hash": "0",
            "disk": {"uuid": "u", "size": 1, "partitions": []},
            "packages": [],
            "sizes": {},
            "components": {"overlay": sum(int(str(size)) for size, *_ in files.values())},
            "files": files,
            **facts,
        }
    ).encode()


NAME = "gateway_1_arm"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal directories, signatures and evidence aside."""
    for side in ("ours", "theirs"):
        fill(
            tmp_path / side,
            {
                f"{NAME}.bmap": b"bmap",
                f"{NAME}.manifest.json": manifest({"etc/motd": [5, "overlay", "0"]}),
                f"{NAME}.raw.zst": b"image" * 500_000,
            },
        )
    (tmp_path / "theirs/SHA256SUMS.gpg").write_bytes(b"signature")
    (tmp_path / "theirs/evidence").mkdir()
    return tmp_path / "ours", tmp_path / "theirs"


def test_equal_releases_have_no_difference(pair: tuple[Path, Path]) -> None:
    assert compare(*pair) is None


def test_the_first_differing_file_is_named_with_what_changed_in_the_image(
    pair: tuple[Path, Path],
) -> None:
    ours, _ = pair
    files: dict[str, list[object]] = {
        "etc/motd": [5, "overlay", "1"],
        "etc/new": [7, "overlay", ""],
    }
    (ours / f"{NAME}.manifest.json").write_bytes(manifest(files))
    data = bytearray(b"image" * 500_000)
    data[2_100_000] ^= 1
    (ours / f"{NAME}.raw.zst").write_bytes(data)
    (ours / "SHA256SUMS").write_bytes(b"also different")
    found = compare(*pair)
    assert found is not None
    assert found.file == f"{NAME}.manifest.json"
    assert found.files == (f"{NAME}.manifest.json", f"{NAME}.raw.zst")
    assert found.changes == (
        f"{NAME}: files: etc/motd: other bytes",
        f"{NAME}: files: etc/new: came",
        f"{NAME}: components: overlay: 5 → 12",
    )
    (ours / f"{NAME}.manifest.json").write_bytes((pair[1] / f"{NAME}.manifest.json").read_bytes())
    again = compare(*pair)
    assert again is not None
    assert (again.file, again.what, again.changes) == (f"{NAME}.raw.zst", "byte 2100000", ())


def test_other_parts_of_a_manifest_are_named(pair: tuple[Path, Path]) -> None:
    ours, _ = pair
    files: dict[str, list[object]] = {"etc/motd": [5, "overlay", "0"]}
    (ours / f"{NAME}.manifest.json").write_bytes(manifest(files, root_hash="ab", tools=[]))
    found = compare(*pair)
    assert found is not None
    assert found.changes == (f"{NAME}: root_hash, tools",)


@pytest.mark.parametrize("side", [0, 1])
def test_missing_and_new_files_differ(pair: tuple[Path, Path], side: int) -> None:
    (pair[side] / f"{NAME}.bmap").unlink()
    found = compare(*pair)
    assert found is not None
    assert found.file == f"{NAME}.bmap"
    assert ("not in" in found.what, "is new in" in found.what) == (side == 0, side == 1)


def test_a_shorter_file_differs_where_it_ends(pair: tuple[Path, Path]) -> None:
    (pair[0] / f"{NAME}.raw.zst").write_bytes(b"image" * 1000)
    found = compare(*pair)
    assert found is not None
    assert found.what == "byte 5000"
