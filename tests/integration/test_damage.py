"""A byte that changes in the cache or in out/ is noticed, and the image is the same again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.cache import seal
from edgeimg.cache.store import Store, sha256_file
from edgeimg.lock.file import read_lock

from tests.integration.failing import NAME, Project
from tests.integration.fileserver import FileServer

pytestmark = pytest.mark.integration
PLACES = 200


def regular(directory: Path) -> Iterator[Path]:
    """The files below a directory that have bytes to damage; what is linked there is others'."""
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from regular(path)
        elif path.is_file() and not path.is_symlink() and path.stat().st_size:
            yield path


def results(project: Project) -> list[Path]:
    """What this project's builds made; the rest is linked."""
    made = [path for path in (project.cache / "derived").iterdir() if not path.is_symlink()]
    assert made
    return made


def flip(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(dice.randrange(path.stat().st_size))
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))


@pytest.mark.usefixtures("downloads")
def test_damage_everywhere_is_noticed_and_healed(
    tmp_path: Path, server: FileServer, cache: Store
) -> None:
    project = Project(tmp_path)
    project.share(unpacked=False)
    packages = read_lock(project.recipe.with_suffix(".lock.toml")).images["x86-64"].packages()
    for package in packages:
        blob = project.cache / "blobs" / package.sha256
        blob.unlink()
        shutil.copy(cache.blob(package.sha256), blob)
        for archive in ("debian", "security"):
            server.files[f"/{archive}/{package.path}"] = blob.read_bytes()
    for name in ("MIRROR", "SECURITY_MIRROR"):
        archive = "security" if "SECURITY" in name else "debian"
        project.env[f"EDGEIMG_{name}"] = f"{server.url}/{archive}"
    first = project.succeeds("--offline")
    assert project.succeeds("--offline")["unchanged"] is True
    assert all(map(seal.holds, results(project)))

    damaged = [path for name in ("blobs", "derived") for path in regular(project.cache / name)]
    damaged += regular(project.output / NAME)
    dice = random.Random(1)
    for path in (*damaged, *dice.choices(damaged, k=PLACES)):
        flip(path, dice)
    image = project.succeeds()
    assert image["unchanged"] is False
    assert (image["sha256"], image["root_hash"]) == (first["sha256"], first["root_hash"])
    assert all(map(seal.holds, results(project)))
    for package in packages:
        assert sha256_file(project.cache / "blobs" / package.sha256) == package.sha256
    assert len(server.log) == len({package.sha256 for package in packages})
