"""A directory with every input of a lock, and an image that is built from it alone."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.build import mirror
from edgeimg.cache.store import Store
from edgeimg.errors import DigestError, FetchError
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.lock.model import ArchLock, K3sAsset, Lock, Package
from edgeimg.progress import Silent

from tests.integration.failing import NAME, Project
from tests.integration.fileserver import FileServer

pytestmark = pytest.mark.integration
CONTENTS = {
    "/debian/pool/main/a/app/app_1.0+b1_armhf.deb": b"app" * 1000,
    "/debian/pool/main/l/lib/lib_2~rc1_armhf.deb": b"lib" * 1000,
    "/security/pool/updates/main/l/lib/lib_2_armhf.deb": b"lib" * 1000,
    "/release/v1.2%2Bk3s1/k3s-armhf": b"k3s" * 1_000_000,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def small(server: FileServer) -> Lock:
    server.files.update(CONTENTS)
    packages = []
    for path, data in CONTENTS.items():
        if "/pool/" in path:
            archive, place = path[1:].split("/", 1)
            name, version, _ = place.rpartition("/")[2].split("_")
            packages.append(
                Package(
                    name=name, version=version, arch="armhf", path=place, size=len(data),
                    archive="debian" if archive == "debian" else "debian-security",
                    sha256=sha256(data),
                )
            )  # fmt: skip
    k3s = K3sAsset(
        version="v1.2+k3s1", url=f"{server.url}/release/v1.2%2Bk3s1/k3s-armhf", size=None,
        sha256=sha256(CONTENTS["/release/v1.2%2Bk3s1/k3s-armhf"]),
    )  # fmt: skip
    image = ArchLock(groups={"root": tuple(packages[:2])}, k3s=k3s)
    tools = {"pack": {"x86-64": tuple(packages[2:])}}
    return Lock(recipe_digest="0" * 64, suite="trixie", images={"arm": image}, tools=tools)


def keep(lock: Lock, directory: Path, server: FileServer, cache: Path) -> mirror.MirrorRun:
    env = {
        "EDGEIMG_MIRROR": f"{server.url}/debian",
        "EDGEIMG_SECURITY_MIRROR": f"{server.url}/security",
    }
    return mirror.mirror_files(lock, directory, store=Store(cache), progress=Silent(), env=env)


def files(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


EXPECTED = {
    "debian/pool/main/a/app/app_1.0+b1_armhf.deb": b"app" * 1000,
    "debian/pool/main/l/lib/lib_2~rc1_armhf.deb": b"lib" * 1000,
    "debian-security/pool/updates/main/l/lib/lib_2_armhf.deb": b"lib" * 1000,
    "k3s/v1.2+k3s1/k3s-armhf": b"k3s" * 1_000_000,
}


def test_every_input_is_kept_once_and_checked(
    small: Lock, server: FileServer, tmp_path: Path
) -> None:
    directory = tmp_path / "mirror"
    kept = keep(small, directory, server, tmp_path / "cache")
    assert files(directory) == EXPECTED
    assert (kept.files, kept.size, sorted(kept.added)) == (4, 3_009_000, sorted(EXPECTED))

    server.log.clear()
    again = keep(small, directory, server, tmp_path / "cache")
    assert (again.files, again.size, again.added, server.log) == (4, 3_009_000, [], [])

    damaged = next(iter(EXPECTED))
    (directory / damaged).write_bytes(b"app" * 999 + b"apq")
    assert keep(small, directory, server, tmp_path / "cache").added == [damaged]
    assert files(directory) == EXPECTED


def test_what_is_in_the_cache_is_copied(small: Lock, server: FileServer, tmp_path: Path) -> None:
    cache = Store(tmp_path / "cache")
    cache.blob("x").parent.mkdir(parents=True)
    for data in (b"app" * 1000, b"lib" * 1000):
        cache.blob(sha256(data)).write_bytes(data)
    cache.blob(sha256(b"lib" * 1000)).write_bytes(b"damaged")
    keep(small, tmp_path / "mirror", server, cache.root)
    assert files(tmp_path / "mirror") == EXPECTED
    asked = {path for path, _ in server.log}
    assert not any("app" in path for path in asked)
    assert any("lib" in path for path in asked)


def test_it_goes_on_where_it_was(small: Lock, server: FileServer, tmp_path: Path) -> None:
    """Packages are kept although K3s cannot be had; half a download is continued."""
    place = "/release/v1.2%2Bk3s1/k3s-armhf"
    server.faults[place] = ["truncate", 404, 404]
    with pytest.raises(FetchError):
        keep(small, tmp_path / "mirror", server, tmp_path / "cache")
    there = {p: d for p, d in files(tmp_path / "mirror").items() if not p.startswith(".unf")}
    assert there == {path: data for path, data in EXPECTED.items() if "k3s" not in path}
    server.faults.clear()
    server.log.clear()
    assert keep(small, tmp_path / "mirror", server, tmp_path / "cache").added == [
        "k3s/v1.2+k3s1/k3s-armhf"
    ]
    ((path, asked),) = server.log
    assert path == place
    assert re.fullmatch(r"bytes=\d{6,}-", asked)
    assert files(tmp_path / "mirror") == EXPECTED


def test_other_bytes_are_not_kept(small: Lock, server: FileServer, tmp_path: Path) -> None:
    path = next(iter(CONTENTS))
    server.files[path] = b"apq" * 1000
    with pytest.raises(DigestError):
        keep(small, tmp_path / "mirror", server, tmp_path / "cache")
    assert not list((tmp_path / "mirror").rglob("app_*"))


@pytest.mark.usefixtures("downloads")
def test_an_image_built_from_it_alone_has_the_same_bytes(
    tmp_path: Path, server: FileServer
) -> None:
    project = Project(tmp_path / "project")
    project.share()
    path = project.recipe.with_suffix(".lock.toml")
    locked = read_lock(path)
    images = {name: replace(image, k3s=None) for name, image in locked.images.items()}
    tools = {"pack": {"x86-64": locked.tools["pack"]["x86-64"]}}
    one = replace(locked, images={"x86-64": images["x86-64"]}, tools=tools)
    write_lock(one, path)
    directory = tmp_path / "mirror"
    result = project.run("mirror", "--json", str(directory))
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["files"] == len(files(directory)) == len(said["added"])
    assert said["environment"]["EDGEIMG_K3S_URL"] == "http://HOST/k3s"

    write_lock(replace(one, images=images), path)
    project.succeeds()
    expected = (project.output / NAME / "SHA256SUMS").read_text()
    server.files.update({f"/{name}": data for name, data in files(directory).items()})
    other = Project(tmp_path / "other")
    (other.root / "overlays/ballast/usr/lib/ballast").write_bytes(
        (project.root / "overlays/ballast/usr/lib/ballast").read_bytes()
    )
    write_lock(replace(one, images=images), other.recipe.with_suffix(".lock.toml"))
    other.env = {
        name: url.replace("http://HOST", server.url) for name, url in said["environment"].items()
    }
    other.succeeds()
    assert (other.output / NAME / "SHA256SUMS").read_text() == expected
    assert {path.partition("/pool/")[0] for path, _ in server.log} <= {
        "/debian",
        "/debian-security",
    }
