"""A small project built by the real command line in a cache of its own, to be made to fail."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeimg.arch import X86_64
from edgeimg.cache.store import Store, default_root, key
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.lock.model import Lock, Package
from edgeimg.recipe.file import load
from edgeimg.resolve.requests import digest
from edgeimg.sources import deb

from tests.fake_k3s import FakeK3s

PROJECT = Path(__file__).parents[2]
NAME = "gateway_0.1.0_x86-64"
SECONDS = 240.0
_BUILDING = ("build", "check", "release")

_SMALL = {
    'version = "0.1.0"': 'version = "0.1.0"\nslot = "32 MiB"\nverity = "9 MiB"\nesp = "64 MiB"\n'
    'config = "9 MiB"\ncompression = "none"',
    "\nprune = [": '\nprune = [\n  "usr/share/*", "usr/bin/*", "usr/sbin/*", "usr/libexec/*",\n'
    '  "usr/lib/systemd/systemd*", "usr/lib/systemd/system-generators/*", "usr/lib/udev/*",\n'
    '  "usr/lib/x86_64-linux-gnu/*",',
    "\nmodules = []": '\nmodules = []\nexclude = ["*"]',
    '"overlays/base"': '"overlays/base", "overlays/ballast"',
    '"setuid:usr/bin/mount"': '"kernel-module:*"',
    '"setuid:usr/bin/umount"': '"executable-stack:usr/lib/*"',
}
"""Changes of the default recipe: a root of a few MiB, which takes seconds and every step."""


@dataclass
class Project:
    """A project below `root`, its cache and its output."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._settle(self.root)
        for name in ("recipes", "overlays"):
            shutil.copytree(PROJECT / name, self.root / name, symlinks=True)
        ballast = self.root / "overlays/ballast/usr/lib/ballast"
        ballast.parent.mkdir(parents=True)
        ballast.write_bytes(random.Random(str(self.root)).randbytes(6 << 20))
        self._drop_services()
        self.edit(_SMALL)
        self.k3s.write_bytes(FakeK3s(X86_64).binary())

    def _drop_services(self) -> None:
        """Take the services out of the recipe and its lock: they need what the small root lacks."""
        tables = re.compile(r"\n\[services\..*?(?=\n\[overlay\])", re.DOTALL)
        accepted = re.compile(r'  "(no-pie:[^"]*/services/|privileged-service:).*\n')
        self.recipe.write_text(accepted.sub("", tables.sub("\n", self.recipe.read_text())))
        path = self.recipe.with_suffix(".lock.toml")
        locked = read_lock(path)
        images = {}
        for name, image in locked.images.items():
            groups = {g: rows for g, rows in image.groups.items() if not g.startswith("service")}
            images[name] = replace(image, groups=groups)
        wanted = digest(load(self.recipe).recipe)
        write_lock(replace(locked, images=images, recipe_digest=wanted), path)

    def _settle(self, root: Path) -> None:
        self.root, self.output, self.cache = root, root / "out", root / "cache"
        self.recipe, self.k3s = root / "recipes/gateway.toml", root / "k3s"

    def elsewhere(self, root: Path) -> Project:
        """The same project in another directory, where its files are already."""
        other = copy.copy(self)
        other._settle(root)
        return other

    def edit(self, changes: Mapping[str, str]) -> None:
        """Replace parts of the recipe's text, each of which is there once."""
        text = self.recipe.read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.recipe.write_text(text)

    def share(self, *, unpacked: bool = True, without: tuple[Package, ...] = ()) -> None:
        """Fill the cache with links to the user's: downloads, tools, and packages if `unpacked`.

        The packages `without` are left out in both forms.
        """
        (self.cache / "blobs").mkdir(parents=True)
        (self.cache / "derived").mkdir()
        absent = {package.sha256 for package in without}
        hidden = {key("deb", deb._VERSION, digest) for digest in absent}
        user = Store(default_root()).root
        for path in (user / "blobs").iterdir():
            if path.name not in absent:
                (self.cache / "blobs" / path.name).symlink_to(path)
        for path in (user / "derived").iterdir():
            if path.name not in hidden and (unpacked or not (path / "index.json").is_file()):
                (self.cache / "derived" / path.name).symlink_to(path)

    def argv(self, *arguments: str, command: str = "build") -> list[str]:
        """The command line of a build, or of another command, run by this Python."""
        program = [sys.executable, "-c", "from edgeimg.cli import main; main()", command]
        if command in _BUILDING:
            program += ["--k3s", str(self.k3s), "-o", str(self.output), "-a", "x86-64"]
        return [*program, *arguments]

    def start(self, *arguments: str, command: str = "build") -> subprocess.Popen[str]:
        """Begin a build as a shell would, in a process group of its own."""
        return subprocess.Popen(
            self.argv(*arguments, command=command), cwd=self.root, env=self.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to the end."""
        process = self.start(*arguments, command=command)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Build to the end."""
        return self.run("build", *arguments)

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `edgeimg check` to the end."""
        return self.run("check", "--offline", *arguments)

    def environment(self) -> dict[str, str]:
        """What a build is run with."""
        own = {"EDGEIMG_CACHE": str(self.cache), "PYTHONPATH": str(PROJECT), "COLUMNS": "100"}
        return {**os.environ, **own, **self.env, "NO_PROXY": "127.0.0.1"}

    def succeeds(self, *arguments: str) -> dict[str, Any]:
        """Build, and look at the result: nothing but the finished files, no work left over."""
        done = self.build(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        (image,) = json.loads(done.stdout)["images"]
        assert isinstance(image, dict)
        assert sorted(path.name for path in (self.output / NAME).iterdir()) == [
            "SHA256SUMS", f"{NAME}.bmap", f"{NAME}.manifest.json", f"{NAME}.raw.zst",
        ]  # fmt: skip
        assert list((self.cache / "partial").iterdir()) == []
        self.assert_whole()
        return image

    def assert_whole(self) -> None:
        """Whatever lies under a final name is what SHA256SUMS says; without it nothing lies there.

        Only work that its owner was killed over may be there besides.
        """
        directory = self.output / NAME
        names = {path.name for path in directory.glob("*")} - {".partial"}
        if not names:
            return
        lines = (directory / "SHA256SUMS").read_text().splitlines()
        sums = {line[66:]: line[:64] for line in lines}
        assert names == {*sums, "SHA256SUMS"}
        for name, expected in sums.items():
            assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == expected

    def processes(self) -> list[str]:
        """Command lines of running programs that work on this project's files."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(str(self.root) in word for word in words):
                found.append(" ".join(words))
        return found


def assert_one_error(done: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    """It ended with `code` and one error that matches `text`, at most one hint, no traceback."""
    assert done.returncode == code, done.stderr
    assert len(re.findall(r"^error: ", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert len(re.findall(r"^ *hint: ", done.stderr, re.MULTILINE)) <= 1, done.stderr
    assert re.search(text, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "bug in edgeimg" not in done.stderr


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until `condition` holds while `process` runs."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.005)


def exclusive(lock: Lock) -> tuple[Package, ...]:
    """Three packages of the x86-64 root that no other group uses."""
    image = lock.images["x86-64"]
    tools = {p.sha256 for hosts in lock.tools.values() for ps in hosts.values() for p in ps}
    others = {p.sha256 for name, ps in image.groups.items() if name != "root" for p in ps}
    mine = [p for p in image.groups["root"] if p.sha256 not in tools | others]
    return tuple(sorted(mine, key=lambda package: package.size)[-3:])
