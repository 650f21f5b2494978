"""The wheel, as an ordinary user has it: installed, in an empty directory, without a checkout."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeimg import __version__, builtin
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store, source_digest
from edgeimg.errors import HostError
from edgeimg.progress import Silent
from edgeimg.sources import standin

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was made from the sdist, and the sdist beside it."""
    out = tmp_path_factory.mktemp("dist")
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run([*hatch, "-t", "sdist"], cwd=PROJECT, check=True)
    (sdist,) = out.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", sdist, "-C", out], check=True)
    subprocess.run([*hatch, "-t", "wheel"], cwd=out / sdist.name[:-7], check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in an environment that has edgeimg from the wheel and nothing of a checkout."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    requirements = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    subprocess.run([*pip, *requirements["dependencies"]], check=True)
    subprocess.run([*pip, "--no-index", "--no-deps", built], check=True)
    return home / "bin/edgeimg"


@pytest.fixture(scope="module")
def run(
    installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    directory = tmp_path_factory.mktemp("empty")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def call(*argv: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed, *map(str, argv)], cwd=directory, env=env, text=True, capture_output=True
        )

    return call


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
    run: Callable[..., subprocess.CompletedProcess[str]],
    cache: Store,
) -> None:
    def ok(*argv: object) -> Any:
        done = run(*argv, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert len(ok("init")["written"]) < 12
    assert ok("lock", "--check") == {"current": True}
    assert not any(f["topic"] == "copies" for f in ok("doctor")["findings"])
    k3s = standin.build(X86_64, store=cache, progress=Silent())
    built = ok("build", "-a", "x86-64", "--k3s", k3s)
    image = next(str(v) for v in _strings(built) if str(v).endswith(".raw.zst"))
    assert ok("inspect", image)
    assert ok("check", "-a", "x86-64", "--k3s", k3s)
    without = run("build", "-a", "x86-64", "--k3s", "standin")
    assert without.returncode == HostError.exit_code
    assert "only in a checkout" in without.stderr and without.stderr.count("\n") <= 3


def _strings(value: Any) -> list[str]:
    match value:
        case dict():
            return [s for item in value.values() for s in _strings(item)]
        case list():
            return [s for item in value for s in _strings(item)]
    return [str(value)]
