"""edgeimg as its users have it: installed from the wheel, run by an ordinary user.

Where the tests run as root, its commands run as `nobody`, in group `kvm` where the host has KVM.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeimg.cache.store import default_root

PROJECT = Path(__file__).parents[1]
_NOBODY = 65534
_SHARED = ("blobs", "derived", "digests")


def wheel(directory: Path, sources: Path = PROJECT) -> Path:
    """A wheel of the sources that was made from an sdist, with the sdist beside it."""
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    subprocess.run([*hatch, "-t", "sdist"], cwd=sources, check=True)
    (sdist,) = directory.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", sdist, "-C", directory], check=True)
    subprocess.run([*hatch, "-t", "wheel"], cwd=directory / sdist.name[:-7], check=True)
    return next(directory.glob("*.whl"))


@dataclass(frozen=True)
class User:
    """An ordinary user, whose directory is `home`."""

    home: Path

    def run(
        self, *argv: object, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [str(word) for word in argv], cwd=cwd or self.home, text=True, capture_output=True,
            env=self._environment() | env, **_ordinary(),
        )  # fmt: skip

    def ok(self, *argv: object, cwd: Path | None = None, **env: str) -> str:
        """What a program prints; fails when it fails."""
        done = self.run(*argv, cwd=cwd, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *argv: object, cwd: Path | None = None) -> Any:
        """What an edgeimg prints with --json."""
        return json.loads(self.ok(*argv, "--json", cwd=cwd))

    def directory(self, name: str) -> Path:
        """A new directory of the user's."""
        path = self.home / name
        path.mkdir()
        _give(path)
        return path

    def take(self, file: Path) -> Path:
        """The user's copy of a file."""
        copy = self.home / file.name
        if not copy.exists():
            shutil.copy(file, copy)
            _give(copy)
        return copy

    def venv(self, built: Path, wheels: Path) -> Path:
        """The edgeimg of an empty virtual environment that got it from its wheel.

        The wheels of what it depends on, and those of pipx, are left in the directory `wheels`.
        """
        python = self._new_venv("venv")
        # By the user of the tests, who may have them in the cache of pip.
        collect = ["-m", "pip", "wheel", "--quiet", "--wheel-dir", wheels, built, "pip", "pipx"]
        subprocess.run([python, "-B", *collect], check=True)
        self._install(python, "edgeimg", wheels)
        return python.with_name("edgeimg")

    def pipx(self, wheels: Path) -> Path:
        """The edgeimg that pipx installs from these wheels alone."""
        python = self._new_venv("pipx-venv")
        self._install(python, "pipx", wheels)
        programs = self.home / "pipx-bin"
        self.ok(
            python.with_name("pipx"), "install", "edgeimg", PIPX_HOME=str(self.home / "pipx"),
            PIPX_BIN_DIR=str(programs), PIP_NO_INDEX="1", PIP_NO_COMPILE="1",
            PIP_FIND_LINKS=str(wheels),
        )  # fmt: skip
        return programs / "edgeimg"

    def _new_venv(self, name: str) -> Path:
        self.ok(_python(), "-m", "venv", self.home / name)
        return self.home / name / "bin/python"

    def _install(self, python: Path, package: str, wheels: Path) -> None:
        options = ["--quiet", "--no-compile", "--no-index", "--find-links", wheels]
        self.ok(python, "-m", "pip", "install", *options, package)

    def share_cache(self) -> None:
        """Fill the user's cache with that of the tests: nothing is fetched or unpacked twice.

        Files are links. What cannot be linked is fetched or made again.
        """
        cache = self.directory("cache")
        for name in _SHARED:
            copy = ["cp", "-al", default_root() / name, cache]
            subprocess.run(copy, check=False, stderr=subprocess.DEVNULL)
        for path in (cache, *cache.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                _give(path)

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XDG_"))}
        inherited.pop("VIRTUAL_ENV", None)
        own = {"HOME": str(self.home), "EDGEIMG_CACHE": str(self.home / "cache")}
        return inherited | own


@contextlib.contextmanager
def user() -> Iterator[User]:
    """An ordinary user with an empty directory, which is removed at the end."""
    # The directories of pytest are root's alone. In /var/tmp it is mostly where the cache is, too.
    with tempfile.TemporaryDirectory(prefix="edgeimg-user-", dir="/var/tmp") as home:
        _give(Path(home))
        yield User(Path(home))


def without_note(project: Path) -> None:
    """Remove the note in the overlay of a project of `init`: the image is the default gateway."""
    (project / "overlays/mine/usr/share/doc/overlay.txt").unlink()


def _ordinary() -> dict[str, Any]:
    """Arguments of subprocess.run."""
    if os.geteuid() != 0:
        return {}
    kvm = Path("/dev/kvm")
    groups = [kvm.stat().st_gid] if kvm.exists() else []
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": groups}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _NOBODY, _NOBODY)


def _python() -> str:
    """A Python that the ordinary user may run: that of the tests, else that of the system."""
    candidates = [os.path.realpath(sys.executable), "/usr/bin/python3"]
    probe = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    for python in candidates:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if not subprocess.run(
                [python, "-c", probe], cwd="/", capture_output=True, **_ordinary()
            ).returncode:
                return python
    raise AssertionError(f"an ordinary user can run none of {candidates}: apt install python3-venv")
