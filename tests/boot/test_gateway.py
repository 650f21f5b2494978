"""The promise: each architecture's default image runs a pod in 512 MB, before and after a restart.

The images are built by the command line as a user would, with the K3s stand-in, and booted
unchanged. That of x86-64 is built, booted and released by an ordinary user, in a project of
`edgeimg init`, with an edgeimg that was installed from the wheel; K3s is a file there. What the
command line prints is kept in out/test/, the guest's reports too: level release uses them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.cache.store import Store, default_root
from edgeimg.progress import Silent
from edgeimg.smoke import wear
from edgeimg.sources import standin

from tests import installation
from tests.gateway import CPUS
from tests.installation import User

PROJECT = Path(__file__).parents[2]
OUTPUT = PROJECT / "out/test"

pytestmark = pytest.mark.boot

archs = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)


def edgeimg(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("edgeimg") or "edgeimg", *arguments],
        cwd=options.pop("cwd", PROJECT),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


def build(arch: Arch) -> dict[str, Any]:
    done = edgeimg("build", "-a", arch.name, "--k3s", "standin", "-o", str(OUTPUT), "--json")
    assert done.returncode == 0, done.stdout
    (image,) = json.loads(done.stdout)["images"]
    assert isinstance(image, dict)
    return image


@archs
def test_image_is_within_budget_and_tells_what_it_holds(arch: Arch) -> None:
    image = build(arch)
    for name, limit in image["budget"].items():
        assert image["sizes"][name] <= limit, name
    path = Path(image["image"])
    sums = (path.parent / "SHA256SUMS").read_text().split()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in sums
    seen = edgeimg("inspect", str(path), "--json")
    assert seen.returncode == 0
    found = json.loads(seen.stdout)
    assert found["image"]["arch"] == arch.name
    assert found["root_hash"] == image["root_hash"]
    assert found["k3s"]["standin"] is True


@dataclass(frozen=True)
class Installed:
    """A project of `edgeimg init`, and the installed edgeimg of the user whose project it is.

    `program` is of a virtual environment; `wheels` is a directory for pipx.
    """

    user: User
    program: Path
    wheels: Path
    project: Path
    k3s: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user.run(self.program, *arguments, cwd=self.project)

    @property
    def image(self) -> Path:
        return self.project / "out/gateway_0.1.0_x86-64"


@pytest.fixture(scope="module")
def installed(cache: Store) -> Iterator[Installed]:
    with installation.user() as user, tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        Path(work).chmod(0o755)
        (wheels := Path(work, "wheels")).mkdir()
        user.share_cache()
        program = user.venv(installation.wheel(Path(work)), wheels)
        project = user.directory("project")
        user.ok(program, "init", cwd=project)
        installation.without_note(project)
        k3s = user.take(standin.build(X86_64, store=cache, progress=Silent()))
        yield Installed(user, program, wheels, project, k3s)


def smoke(arch: Arch, request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """Build an image, and boot it; its reports are below OUTPUT."""
    junit = f"smoke-{arch.name}.xml"
    options = ("smoke", "-a", arch.name, "--cpus", str(CPUS), "--json", "-v")
    if arch is not X86_64:
        build(arch)
        return edgeimg(*options, "-o", str(OUTPUT), "--junit", str(OUTPUT / junit))
    place: Installed = request.getfixturevalue("installed")
    made = place.run("build", "-a", arch.name, "--k3s", str(place.k3s))
    assert made.returncode == 0, made.stderr
    done = place.run(*options, "--junit", f"out/{junit}")
    print(done.stderr)
    shutil.copy(place.project / "out" / junit, OUTPUT / junit)
    reports = OUTPUT / place.image.name / "smoke"
    shutil.rmtree(reports, ignore_errors=True)
    shutil.copytree(place.image / "smoke", reports)
    return done


@archs
def test_pod_runs_in_512_mib_twice(arch: Arch, request: pytest.FixtureRequest) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    done = smoke(arch, request)
    (OUTPUT / f"smoke-{arch.name}.json").write_text(done.stdout)
    (report,) = json.loads(done.stdout)["reports"]
    assert report["failures"] == []
    assert done.returncode == 0
    assert report["memory_mib"] == 512
    assert report["cpus"] == CPUS
    assert len(report["boots"]) == 2
    rest = wear.measurement(report["boots"][1]["report"])
    assert rest is not None
    print(f"\n{arch.name} at rest: {rest.hourly} bytes an hour, {rest.summary()}")
    for number, boot in enumerate(report["boots"], 1):
        seconds = {stage["name"]: stage["uptime"] for stage in boot["stages"]}
        memory = boot["report"]["memory_kib"]
        print(f"\n{arch.name} boot {number}: {seconds} s; memory {memory} KiB")
    assert "<testsuite" in (OUTPUT / f"smoke-{arch.name}.xml").read_text()


def test_an_ordinary_user_releases_with_an_installation(installed: Installed) -> None:
    """By pipx, from the same wheel. The guest of the test before is not booted again."""
    user, public = installed.user, installed.project / "releases.asc"
    report = installed.image / "smoke/report.json"
    if not report.is_file() or json.loads(report.read_bytes())["failures"]:
        pytest.fail("the guest did not pass before")
    program = user.pipx(installed.wheels)
    user.ok(
        program, "genkey", "--name", "Tests", "--email", "tests@example.org",
        "--home", user.home / "gpg", "--export", public, "--no-passphrase",
        cwd=installed.project,
    )  # fmt: skip
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        user.ok("git", *identity, *words, cwd=installed.project)
    done = user.run(
        program, "release", "-a", "x86-64", "--k3s", installed.k3s, "--home", user.home / "gpg",
        "--allow", "standin", "--allow", "unsigned-index", "--json", "-v",
        cwd=installed.project,
    )  # fmt: skip
    user.run("gpgconf", "--homedir", user.home / "gpg", "--kill", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "these bytes passed before" in done.stderr
    released = json.loads(done.stdout)
    assert {"standin"} <= {hold["gate"] for hold in released["overrides"]}
    user.ok(program, "verify", released["directory"], "--key", public, cwd=installed.project)


def test_another_place_clock_and_umask_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(X86_64)
    cache, project = tmp_path / "cache", tmp_path / "elsewhere"
    share_downloads(cache)
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, project / name, symlinks=True)
    done = edgeimg(
        "build", "-a", "amd64", "--k3s", "standin", "--offline", "--json",
        cwd=project,
        env={**os.environ, "EDGEIMG_CACHE": str(cache), "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (second,) = json.loads(done.stdout)["images"]
    assert second["unchanged"] is False
    assert second["sha256"] == first["sha256"]


def share_downloads(cache: Path) -> None:
    """A cache with the downloads and the compiled stand-in, where all else is made again."""
    (cache / "derived").mkdir(parents=True)
    (cache / "blobs").symlink_to(default_root() / "blobs")
    compiled = standin.cached(X86_64, Store(default_root()))
    assert compiled is not None
    (cache / "derived" / compiled.name).symlink_to(compiled)
