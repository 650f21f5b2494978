"""The default gateway, released for all architectures as a pipeline does it, with the stand-in.

Guests that passed in the boot level are not booted again; without it this takes as long. The image
of x86-64 has K3s from a file, as the one of the boot level (tests/boot/test_gateway.py). When the
time is over (tests/late.py), architectures for which the stand-in is not compiled are left out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64
from edgeimg.cache.store import Store
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.progress import Silent
from edgeimg.project import template
from edgeimg.recipe.file import load
from edgeimg.resolve.requests import digest
from edgeimg.sources import standin

from tests import installation, late
from tests.integration.signing import gpg_home

PROJECT = Path(__file__).parents[2]
ALLOWED = {"standin", "unsigned-index", "dirty-overlay"}
"""What holds the project's own recipe back here; `checks`, `budget` and `boot` must not."""

pytestmark = [
    pytest.mark.boot,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
]


def edgeimg(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    program = shutil.which("edgeimg") or "edgeimg"
    return subprocess.run(
        [program, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False
    )


@pytest.fixture
def home() -> Iterator[Path]:
    with gpg_home() as directory:
        yield directory


@pytest.fixture
def project(tmp_path: Path, cache: Store) -> Path:
    """A project of `init`: the default gateway, with the stand-in, which is a file on x86-64."""
    root = tmp_path / "project"
    template.write(root)
    installation.without_note(root)
    k3s = standin.build(X86_64, store=cache, progress=Silent())
    recipe = root / "recipes/gateway.toml"
    sources = f"""
[k3s]
source = "standin"

[arch.x86-64.k3s]
source = "file"
path = "{k3s}"
"""
    recipe.write_text(recipe.read_text() + sources)
    source = load(recipe)
    locked = replace(read_lock(source.lock_path), recipe_digest=digest(source.recipe))
    write_lock(locked, source.lock_path)
    return root


@pytest.fixture
def archs(cache: Store, project: Path) -> tuple[str, ...]:
    names = tuple(
        arch.name for arch in ARCHITECTURES if not late.is_over() or standin.cached(arch, cache)
    )
    assert X86_64.name in names
    return names


def test_all_architectures_are_released_and_verified(
    home: Path, project: Path, archs: tuple[str, ...], tmp_path: Path
) -> None:
    public = tmp_path / "releases.asc"
    made = edgeimg(
        "genkey", "--name", "Tests", "--email", "tests@example.org", "--home", str(home),
        "--export", str(public), "--no-passphrase",
    )  # fmt: skip
    assert made.returncode == 0

    allow = [word for gate in sorted(ALLOWED) for word in ("--allow", gate)]
    done = edgeimg(
        "release", *(word for arch in archs for word in ("-a", arch)),
        "-o", str(PROJECT / "out/test"), "--releases", str(tmp_path / "releases"),
        "--home", str(home), *allow, "--json", "-v", cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    released = json.loads(done.stdout)
    directory = Path(released["directory"])
    assert {hold["gate"] for hold in released["overrides"]} <= ALLOWED
    assert {hold["gate"] for hold in released["overrides"]} >= {"standin"}
    assert sorted(released["archs"]) == sorted(archs)

    for place in (directory, directory / "evidence"):
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=place, check=True)
    findings = json.loads((directory / "evidence/findings.json").read_bytes())
    assert findings == {arch: [] for arch in archs}
    for arch in archs:
        (smoke,) = (directory / "evidence").glob(f"*_{arch}.smoke.json")
        assert json.loads(smoke.read_bytes())["passed"] is True
        (bill,) = directory.glob(f"*_{arch}.cdx.json")
        names = {component["name"] for component in json.loads(bill.read_bytes())["components"]}
        assert {"systemd", "libc6", "crun"} <= names

    kept = PROJECT / "out/test/release"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(directory, kept)
    verified = edgeimg("verify", str(directory), "--key", str(public))
    assert verified.returncode == 0
    victim = directory / "evidence/report.html"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    assert edgeimg("verify", str(directory), "--key", str(public)).returncode == 16
