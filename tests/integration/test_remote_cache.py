"""Builders that share results by a real HTTP server, with the real command line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg import errors
from edgeimg.fetch.shared_address import VARIABLE, WRITE

from tests.cache_server import CacheServer
from tests.integration.failing import NAME, Project, assert_one_error
from tests.integration.signing import gpg, gpg_home, make_key

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("downloads")]


@pytest.fixture
def server() -> Iterator[CacheServer]:
    with CacheServer() as server:
        yield server


def builder(first: Project, root: Path, server: CacheServer) -> Project:
    """Another builder with the same files, which reads the shared cache."""
    shutil.copytree(
        first.root, root, symlinks=True, ignore=shutil.ignore_patterns("out", "cache", ".git")
    )
    other = first.elsewhere(root)
    other.share()
    other.env = {VARIABLE: server.url}
    return other


def image(project: Project) -> dict[str, str]:
    """The digest of each file of the image."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project.output / NAME).glob(f"{NAME}.*")
    }


def results(project: Project) -> set[str]:
    return {path.name for path in (project.cache / "derived").iterdir()}


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_the_second_builder_makes_nothing(server: CacheServer, tmp_path: Path) -> None:
    first = Project(tmp_path / "first")
    first.share()
    first.env = {VARIABLE: server.url, WRITE: "1"}
    assert first.build().returncode == 0
    stored = dict(server.files)
    assert len(stored) == 4  # disk, block map, manifest, and the entry that names them

    second = builder(first, tmp_path / "second", server)
    before = results(second)
    done = second.build()
    assert done.returncode == 0, done.stderr
    assert "comes from the shared cache" in done.stderr
    assert image(second) == image(first)
    assert results(second) == before
    assert server.files == stored  # nothing is written unless that is asked for

    for path, data in stored.items():
        if "/cas/" in path:
            server.files[path] = flip(data)
    third = builder(first, tmp_path / "third", server)
    done = third.build()
    assert done.returncode == 0, done.stderr
    assert "comes from the shared cache" not in done.stderr
    assert image(third) == image(first)


@pytest.mark.skipif(not shutil.which("gpg"), reason="no gpg: apt install gpg gpgv")
def test_a_poisoned_entry_is_found_by_rebuilding(server: CacheServer, tmp_path: Path) -> None:
    """Whole in itself and of the right key, but not what the sources make.

    test_release.py has the release that a rebuild confirms.
    """
    sound, changed = Project(tmp_path / "sound"), Project(tmp_path / "changed")
    ballast = "overlays/ballast/usr/lib/ballast"
    shutil.copyfile(sound.root / ballast, changed.root / ballast)
    for project in (sound, changed):
        project.share()
        project.edit({"[budget]\n": '[release]\nallow = ["boot"]\n\n[budget]\n'})
        project.env = {VARIABLE: server.url, WRITE: "1"}
        assert project.build().returncode == 0
        data = bytearray((changed.root / ballast).read_bytes())
        data[0] ^= 1
        (changed.root / ballast).write_bytes(data)
    good, bad = (path for path in server.files if "/ac/" in path)
    entry = json.loads(server.files[bad])
    manifest = next(row for name, row in entry["files"].items() if name.endswith(".json"))
    path = f"{good.partition('/ac/')[0]}/cas/{manifest['sha256']}"
    document = json.loads(server.files[path])
    document["digests"]["build"] = entry["key"] = good.rpartition("/")[2]
    data = json.dumps(document).encode()
    manifest["sha256"], manifest["size"] = hashlib.sha256(data).hexdigest(), len(data)
    server.files[f"{good.partition('/ac/')[0]}/cas/{manifest['sha256']}"] = data
    server.files[good] = json.dumps(entry).encode()

    with gpg_home() as home:
        make_key(home)
        key = tmp_path / "key.asc"
        key.write_bytes(gpg(home, "--armor", "--export"))
        project = builder(sound, tmp_path / "poisoned", server)
        (project.root / ".gitignore").write_text("/out\n/cache\n/k3s\n")
        _commit(project.root)
        released = project.run(
            "release", "--home", str(home), "--releases", str(project.output / "release"),
            "--deadline", "10", "--memory", "256", "--accel", "tcg",
        )  # fmt: skip
        assert released.returncode == 0, released.stderr
        directory = project.output / "release/0.1.0"
        assert (directory / "evidence/shared-cache.json").is_file()
        rebuilt = project.run(
            "verify", str(directory), "--key", str(key), "--rebuild", "--k3s", str(project.k3s)
        )
    assert_one_error(rebuilt, errors.VerifyError.exit_code, "usr/lib/ballast")


def _commit(root: Path) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)
