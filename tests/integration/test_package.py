"""The wheel, as an ordinary user has it: installed, in an empty directory, without a checkout."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg import __version__, builtin
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store, source_digest
from edgeimg.errors import HostError
from edgeimg.progress import Silent
from edgeimg.sources import standin

from tests import installation
from tests.installation import User

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installation.wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with installation.user() as ordinary:
        ordinary.share_cache()
        yield ordinary


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgeimg-wheels-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def installed(user: User, built: Path, wheels: Path) -> Path:
    """The program, in an environment that has edgeimg from the wheel and nothing of a checkout."""
    return user.venv(built, wheels)


def test_the_wheel_has_the_files_of_the_checkout_and_no_stand_in(built: Path) -> None:
    with zipfile.ZipFile(built) as wheel:
        held = {
            info.filename.removeprefix("edgeimg/data/"): bool(
                info.external_attr >> 16 & stat.S_IXUSR
            )
            for info in wheel.infolist()
            if info.filename.startswith("edgeimg/data/")
        }
        links = [i.filename for i in wheel.infolist() if stat.S_ISLNK(i.external_attr >> 16)]
    listing = subprocess.run(
        ["git", "ls-files", "-s", *builtin.ROOTS, "builder/edgeimg/data/ci"],
        cwd=PROJECT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    rows = [line.split(maxsplit=3) for line in listing.stdout.splitlines()]
    prefix = "builder/edgeimg/data/"
    assert held == {path.removeprefix(prefix): mode == "100755" for mode, _, _, path in rows}
    assert links == []


def test_it_is_one_version_and_one_code(built: Path, installed: Path) -> None:
    assert f"-{__version__}-" in built.name
    program = "from edgeimg.cache.store import source_digest; print(source_digest())"
    python = installed.with_name("python")
    done = subprocess.run(
        [python, "-c", program], cwd="/", text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == source_digest()
    shown = subprocess.run([installed, "--version"], text=True, capture_output=True, check=True)
    assert shown.stdout.split()[-1] == __version__


def test_installed_overlays_are_executable_where_they_were(installed: Path) -> None:
    data = next(installed.parents[1].glob("lib/python*/site-packages/edgeimg/data"))
    for path in (p for p in (PROJECT / "overlays").rglob("*") if p.is_file()):
        there = data / path.relative_to(PROJECT)
        assert os.access(there, os.X_OK) == os.access(path, os.X_OK), there
        assert there.read_bytes() == path.read_bytes()
    assert not (data / "standin").exists()


@pytest.mark.usefixtures("downloads")
def test_an_image_is_made_in_an_empty_directory(
    user: User, installed: Path, wheels: Path, cache: Store
) -> None:
    """By an ordinary user; the same edgeimg, installed by pipx, finds the image finished."""
    project = user.directory("project")
    assert len(user.json(installed, "init", cwd=project)["written"]) < 12
    findings = user.json(installed, "doctor", cwd=project)["findings"]
    assert not any(finding["topic"] == "copies" for finding in findings)
    k3s = user.take(standin.build(X86_64, store=cache, progress=Silent()))
    one = chain(user, installed, project, k3s)
    assert one["unchanged"] is False
    assert (project / one["image"]).stat().st_uid == project.stat().st_uid
    without = user.run(installed, "build", "-a", "x86-64", "--k3s", "standin", cwd=project)
    assert without.returncode == HostError.exit_code
    assert "only in a checkout" in without.stderr and without.stderr.count("\n") <= 3

    by_pipx = user.pipx(wheels)
    other = user.directory("other")
    user.json(by_pipx, "init", cwd=other)
    assert files(other) == {n: f for n, f in files(project).items() if not n.startswith("out/")}
    two = chain(user, by_pipx, project, k3s)
    assert two == {**one, "unchanged": True}


def chain(user: User, program: Path, project: Path, k3s: Path) -> dict[str, Any]:
    """Lock, build, check and inspect as the documentation does; the facts of the image."""
    assert user.json(program, "lock", "--check", cwd=project) == {"current": True}
    (image,) = user.json(program, "build", "-a", "x86-64", "--k3s", k3s, cwd=project)["images"]
    assert user.json(program, "check", "-a", "x86-64", "--k3s", k3s, cwd=project)
    seen = user.json(program, "inspect", image["image"], cwd=project)
    assert seen["root_hash"] == image["root_hash"]
    assert seen["k3s"]["source"] == "file"
    assert isinstance(image, dict)
    return image


def files(project: Path) -> dict[str, bytes]:
    found = (path for path in project.rglob("*") if path.is_file())
    return {str(path.relative_to(project)): path.read_bytes() for path in found}
