"""Two versions of edgeimg and one project; and a project of before there were built-in parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from edgeimg import __version__, errors
from edgeimg.image.manifest import PATH, Manifest

from tests import installation
from tests.integration.failing import NAME, Project, assert_one_error

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("downloads")]
PROJECT = Path(__file__).parents[2]
NEW = "99.0.0"
FILE = "usr/lib/edgeimg/screen"
"""A file of edgeimg:overlays/base."""


class Edgeimg:
    """The edgeimg of a wheel, unpacked; its dependencies are those of the tests."""

    def __init__(self, sources: Path, directory: Path) -> None:
        directory.mkdir()
        self.code = directory / "code"
        zipfile.ZipFile(installation.wheel(directory, sources)).extractall(self.code)

    def run(self, project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeimg", *arguments]
        if arguments[0] == "build":
            command += ["--k3s", str(project.k3s), "-o", str(project.output), "-a", "x86-64"]
        env = project.environment() | {"PYTHONPATH": str(self.code)}
        return subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True)

    def ok(self, project: Project, *arguments: str) -> Any:
        done = self.run(project, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def old(tmp_path: Path) -> Edgeimg:
    return Edgeimg(PROJECT, tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Edgeimg:
    """A later version, which has changed a file of a built-in overlay."""
    sources = tmp_path / "sources"
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    kept = ("builder/edgeimg/", "recipes/", "overlays/", "pyproject.toml", "README.md")
    for name in filter(None, listing.stdout.split("\0")):
        if name.startswith((*kept, "CHANGELOG", "LICENSE")):
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, sources / name, follow_symlinks=False)
    version = sources / "builder/edgeimg/__init__.py"
    text = version.read_text()
    assert __version__ in text
    version.write_text(text.replace(__version__, NEW))
    script = sources / "overlays/base" / FILE
    script.write_text(script.read_text() + "# newer\n")
    return Edgeimg(sources, tmp_path / "new")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A small one, of the old kind: it has copies of edgeimg's recipes and overlays."""
    made = Project(tmp_path / "project")
    made.share()
    return made


def drop_copies(project: Project) -> None:
    """What the documentation says of projects with copies."""
    for name in ("overlays/base", "overlays/services", "overlays/updates", "recipes/services"):
        shutil.rmtree(project.root / name)
    (project.root / "recipes/updates.toml").unlink()
    project.edit({'"overlays/base"': '"edgeimg:overlays/base", "overlays/mine"'})
    (project.root / "overlays/mine").mkdir(exist_ok=True)


def test_a_new_edgeimg_is_taken_by_locking(
    project: Project, old: Edgeimg, new: Edgeimg, tmp_path: Path
) -> None:
    drop_copies(project)
    old.ok(project, "lock")
    (before,) = old.ok(project, "build")["images"]
    kept = tmp_path / f"{NAME}.manifest.json"
    shutil.copy(project.output / NAME / kept.name, kept)

    held = new.run(project, "build")
    assert_one_error(held, errors.LockError.exit_code, r"differ (.|\n)*edgeimg:overlays/base\n")
    assert "`edgeimg lock" in held.stderr
    assert new.run(project, "lock", "--check").returncode == errors.LockError.exit_code

    changes = new.ok(project, "lock")["changes"]
    assert any("edgeimg:overlays/base" in change for change in changes)
    (after,) = new.ok(project, "build")["images"]
    assert after["unchanged"] is False
    assert after["root_hash"] != before["root_hash"]
    found = new.ok(project, "diff", str(kept), str(project.output / NAME / kept.name))["sections"]
    versions = {change["name"]: change for change in found["edgeimg"]}
    assert set(versions) == {"version", "edgeimg:overlays/base"}
    assert (versions["version"]["before"], versions["version"]["after"]) == (__version__, NEW)
    changed = {file["name"]: file for file in found["files"]}
    assert changed.keys() - {PATH} == {FILE}  # the root's own manifest has the version
    file = changed[FILE]
    assert file["after"] == file["before"] + len("# newer\n")


def test_a_project_with_copies_builds_and_doctor_leads_out_of_it(project: Project) -> None:
    links = project.root / "overlays/base/usr/bin"
    links.mkdir(exist_ok=True)
    for name in ("cat", "ls", "mv"):  # version 0.1 copied one for each applet of busybox
        (links / name).symlink_to("busybox")
    (changed := project.root / "overlays/base" / FILE).write_text("#!/bin/sh\n# by hand\n")
    project.succeeds()
    before = contents(project)
    assert f"by hand: {FILE};" in f"{copies(project)['overlays/base']};"
    assert "none was changed by hand" in copies(project)["recipes/services"]

    mine = project.root / "overlays/mine" / FILE
    mine.parent.mkdir(parents=True)
    changed.rename(mine)
    for name in ("cat", "ls", "mv"):
        (project.root / "overlays/mine/usr/bin").mkdir(exist_ok=True)
        (links / name).rename(project.root / "overlays/mine/usr/bin" / name)
    drop_copies(project)
    assert project.run("lock").returncode == 0
    assert copies(project) == {}
    project.succeeds()
    assert contents(project) == before
    assert FILE in before


def contents(project: Project) -> dict[str, str]:
    """SHA-256 of each file of the root, but its own manifest, which says where they come from."""
    made = Manifest.read(project.output / NAME / f"{NAME}.manifest.json")
    assert made.files is not None
    return {path: facts.sha256 for path, facts in made.files.items() if path != PATH}


def copies(project: Project) -> dict[str, str]:
    """What doctor says about copies, by their place; with advice each."""
    done = project.run("doctor", "--json")
    assert done.returncode == 0, done.stderr
    facts = [f for f in json.loads(done.stdout)["findings"] if f["topic"] == "copies"]
    assert all("edgeimg:gateway" in fact["advice"] for fact in facts)
    return {fact["message"].split(" ")[0]: fact["message"] for fact in facts}
