"""The installer's stick for real: it is built, and its partition holds what it installs."""

from __future__ import annotations

import filecmp
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import X86_64
from edgeimg.build import pipeline, program
from edgeimg.build.options import BuildOptions
from edgeimg.check.findings import errors
from edgeimg.image import blockmap, raw
from edgeimg.pack import disk, fat
from edgeimg.ui import Ui

from tests.integration.test_flash import run
from tests.unit.flash.test_flash import image

RULES = 'image = "images"\nfleet = "fleet.csv"\n[disk]\nonly_internal = true\n'
pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Stick:
    """A stick with one image, rules and a fleet."""

    folder: Path
    image: Path
    result: Any

    @property
    def raw(self) -> Path:
        return self.folder / "stick.raw"


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Stick:
    folder = tmp_path_factory.mktemp("stick")
    packed, _ = image(folder)
    (folder / "mine.toml").write_text(RULES)
    (folder / "site.csv").write_text("hostname,serial\nbox-1,S1\n")
    done = run(
        "installer", "--arch", X86_64.name, "--image", packed, "--rules", folder / "mine.toml",
        "--fleet", folder / "site.csv", "--output", folder / "stick.raw", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Stick(folder=folder, image=packed, result=json.loads(done.stdout))


def test_its_partition_holds_what_it_installs(stick: Stick, tiny: Any, tmp_path: Path) -> None:
    part = disk.read(stick.raw, toolbox=tiny.pack)["config"]
    place = f"images/{stick.image.name.removesuffix('.raw.zst')}"
    expected = {
        f"{place}/{stick.image.name}": stick.image,
        f"{place}/{blockmap.beside(stick.image).name}": blockmap.beside(stick.image),
        "install.toml": stick.folder / "mine.toml",
        "fleet.csv": stick.folder / "site.csv",
    }
    assert set(stick.result["files"]) == {*expected, "README.txt"}
    found = fat.extract_all(stick.raw, tmp_path, offset=part.start, toolbox=tiny.pack)
    assert set(found) == {"README.txt", *(f"installer/{name}" for name in stick.result["files"])}
    for name, file in expected.items():
        assert filecmp.cmp(found[f"installer/{name}"], file, shallow=False), name
    alone = tmp_path / "config.fat"
    with stick.raw.open("rb") as whole:
        whole.seek(part.start)
        alone.write_bytes(whole.read(part.size))
    tiny.pack.run("fsck.fat", "-n", str(alone), timeout=60)


def test_the_rest_is_the_image_that_was_built(stick: Stick, tiny: Any, tmp_path: Path) -> None:
    (packed,) = stick.folder.glob("installer_*/*.raw.zst")
    built = tmp_path / "built.raw"
    raw.unpack(packed, built)
    part = disk.read(stick.raw, toolbox=tiny.pack)["config"]
    with built.open("rb") as one, stick.raw.open("rb") as other:
        assert one.read(part.start) == other.read(part.start)
        for file in (one, other):
            file.seek(part.start + part.size)
        assert one.read() == other.read()
    target = tmp_path / "disk"
    with target.open("wb") as file:
        file.truncate(stick.raw.stat().st_size)
    done = run("flash", stick.raw, target, "--yes")
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(target, stick.raw, shallow=False)


def test_only_its_owner_reads_it(stick: Stick) -> None:
    assert stick.raw.stat().st_mode & 0o777 == 0o600
    assert blockmap.beside(stick.raw).stat().st_mode & 0o777 == 0o600


def test_the_image_passes_its_checks(cache: Any, tmp_path: Path) -> None:
    plan = program.plan_installer(program.recipe(), X86_64, BuildOptions(output=tmp_path))
    report = pipeline.check(plan, store=cache, ui=Ui(verbosity=-1))
    assert [str(finding) for finding in errors(report.findings)] == []
