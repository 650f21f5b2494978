"""Thin projects: built-in parts by name, what the lock records of them, show, eject, doctor."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from edgeimg import builtin
from edgeimg.arch import X86_64
from edgeimg.build import overlays
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cli import cli
from edgeimg.errors import HostError, LockError, RecipeError
from edgeimg.image.manifest import Manifest
from edgeimg.inspect.diff import compare
from edgeimg.lock import file
from edgeimg.project import copies, ejection, template
from edgeimg.recipe.file import load
from edgeimg.resolve import builtin_parts
from edgeimg.sources import standin

from tests.release_facts import manifest

PROJECT = Path(__file__).parents[3]
RECIPE = Path("recipes/gateway.toml")


@pytest.fixture
def thin(tmp_path: Path) -> Path:
    template.write(tmp_path)
    return tmp_path


@pytest.fixture
def upgraded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another edgeimg, which a test changes: its data directory."""
    data = tmp_path_factory.mktemp("edgeimg") / "data"
    for name in builtin.ROOTS:
        shutil.copytree(builtin.directory(name), data / name)
    monkeypatch.setattr(builtin, "directory", lambda name="": data / name if name else data)
    return data


def plan(project: Path) -> BuildPlan:
    options = BuildOptions(output=project / "out")
    return plan_build(load(project / RECIPE), X86_64, options)


def test_built_in_parts_hold_no_links() -> None:
    """A wheel has none: they belong into [overlay] links and mask."""
    found = [path for name in builtin.ROOTS for path in (PROJECT / name).rglob("*")]
    assert len(found) > 100
    assert [path for path in found if path.is_symlink()] == []


def test_a_new_project_is_thin_and_its_lock_fits(thin: Path) -> None:
    files = [path for path in thin.rglob("*") if path.is_file()]
    assert len(files) < 12
    made = plan(thin)
    assert set(made.builtin) >= {"edgeimg:gateway", "edgeimg:overlays/base"}
    assert made.overlay["usr/lib/systemd/system/k3s.service"]
    assert "usr/share/doc/overlay.txt" in made.overlay


def test_it_is_the_default_gateway(thin: Path) -> None:
    """But for the note in the project's own overlay."""
    own = plan_build(load(PROJECT / RECIPE), X86_64, BuildOptions(output=thin))
    thin_plan = plan(thin)
    thinner = thin_plan.overlay.without(lambda path, _: path.startswith("usr/share/doc"))
    assert thinner.digest() == own.overlay.digest()
    assert {n: t.digest() for n, t in thin_plan.project_files.items()} == {
        n: t.digest() for n, t in own.project_files.items()
    }
    origins = {node.origin for tree in thin_plan.project_files.values() for _, node in tree.items()}
    assert origins == {
        node.origin for tree in own.project_files.values() for _, node in tree.items()
    }


@pytest.mark.parametrize(
    "name", ["edgeimg:gatewy", "edgeimg:../standin", "edgeimg:standin", "edgeimg:"]
)
def test_unknown_parts_are_refused(thin: Path, name: str) -> None:
    text = (thin / RECIPE).read_text()
    (thin / RECIPE).write_text(text.replace("edgeimg:gateway", f"edgeimg:{name}"))
    with pytest.raises(RecipeError, match="no built-in part"):
        load(thin / RECIPE)


def test_every_built_in_recipe_is_found_with_its_files(tmp_path: Path) -> None:
    recipes = [name for name in builtin.names() if not name.startswith(builtin.SHOWN)]
    assert {"gateway", "updates", "services/wifi", "mqtt-gateway", "edgex"} <= set(recipes)
    for name in recipes:
        path = tmp_path / "own.toml"
        path.write_text(f'include = ["edgeimg:{name}"]\n')
        used = builtin_parts.parts_of(load(path))
        assert used is not None and f"edgeimg:{name}" in used.parts


def test_other_built_in_parts_are_refused_until_they_are_locked(thin: Path, upgraded: Path) -> None:
    before = plan(thin)
    script = upgraded / "overlays/base/usr/lib/edgeimg/screen"
    script.write_text(script.read_text() + "# newer\n")
    with pytest.raises(LockError, match=r"differ.*edgeimg:overlays/base$") as caught:
        plan(thin)
    assert "edgeimg lock" in str(caught.value.hint)
    source = load(thin / RECIPE)
    text = source.lock_path.read_text()
    again = template._lock(source.path)
    source.lock_path.write_text(again)
    after = plan(thin)
    assert text != again
    assert before.key != after.key
    assert "newer" in after.overlay.read("usr/lib/edgeimg/screen").decode()


def test_a_lock_without_a_record_fits_only_recipes_without_built_in_parts(
    thin: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = load(thin / RECIPE)
    shutil.copy(builtin.directory("recipes/gateway.lock.toml"), source.lock_path)
    with pytest.raises(LockError, match="does not record"):
        plan(thin)
    old = tmp_path_factory.mktemp("old")
    for name in builtin.ROOTS:
        shutil.copytree(builtin.directory(name), old / name)
    assert plan(old).builtin == {}


def test_the_record_survives_its_file(thin: Path) -> None:
    lock = file.read_lock(load(thin / RECIPE).lock_path)
    assert lock.builtin is not None
    path = thin / "again.lock.toml"
    file.write_lock(lock, path)
    assert file.read_lock(path) == lock
    path.write_text(path.read_text().replace("[builtin.parts]", "[builtin.parts]\nx = 'y'"))
    with pytest.raises(LockError, match=r"builtin\.parts\.x"):
        file.read_lock(path)


def test_the_lock_of_edgeimgs_own_recipe_is_not_written() -> None:
    recipe = str(builtin.directory("recipes/gateway.toml"))
    with pytest.raises(LockError, match="own recipe") as caught:
        cli.main(["lock", "-r", recipe], standalone_mode=False)
    assert "edgeimg init" in str(caught.value.hint)


def test_show_prints_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["show", "edgeimg:services/wifi"], standalone_mode=False)
    assert capsys.readouterr().out == (PROJECT / "recipes/services/wifi.toml").read_text()
    cli.main(["show"], standalone_mode=False)
    assert "overlays/base/usr/lib/edgeimg/screen" in capsys.readouterr().out.splitlines()
    with pytest.raises(RecipeError, match="no built-in part") as caught:
        cli.main(["show", "gatewy"], standalone_mode=False)
    assert "edgeimg:gateway" in str(caught.value.hint)


def test_names_are_completed() -> None:
    env = {
        "_EDGEIMG_COMPLETE": "bash_complete",
        "COMP_WORDS": "edgeimg show serv",
        "COMP_CWORD": "2",
    }
    done = CliRunner().invoke(cli, [], env=env, prog_name="edgeimg")
    assert "plain,services/wifi" in done.output


def test_an_ejected_file_wins(thin: Path) -> None:
    name = "overlays/base/usr/lib/edgeimg/screen"
    (copy,) = ejection.eject(name, thin).written
    assert copy == thin / "overlays/mine/usr/lib/edgeimg/screen"
    assert os.access(copy, os.X_OK)
    copy.write_text("#!/bin/sh\n")
    source = load(thin / RECIPE)
    tree = overlays.read(source, source.recipe.for_arch(X86_64))
    assert tree.read("usr/lib/edgeimg/screen") == b"#!/bin/sh\n"
    with pytest.raises(HostError, match="not overwritten"):
        ejection.eject(name, thin)
    assert copy.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("name", ["gateway", "services/wifi", "mqtt-gateway", "updates"])
def test_an_ejected_recipe_says_the_same(thin: Path, name: str) -> None:
    path = thin / "recipes/own.toml"
    base = "" if name.endswith("gateway") else '"edgeimg:gateway", '
    path.write_text(f'include = [{base}"edgeimg:{name}"]\n')
    before = load(path).recipe
    (thin / RECIPE).unlink()
    ejected = ejection.eject(name, thin)
    assert ejected.written == (thin / f"recipes/{name}.toml",)
    path.write_text(f'include = [{base}"{name}.toml"]\n')
    assert load(path).recipe == before


def test_doctor_finds_copies_and_which_differ(thin: Path) -> None:
    assert copies.examine(thin) == []
    assert copies.examine(PROJECT) == []
    shutil.copytree(builtin.directory("overlays/base"), thin / "overlays/base")
    (fact,) = copies.examine(thin)
    assert "none was changed by hand" in fact.message
    (thin / "overlays/base/usr/lib/edgeimg/screen").write_text("own")
    (fact,) = copies.examine(thin)
    assert "by hand: usr/lib/edgeimg/screen" in fact.message
    assert (fact.topic, fact.state) == ("copies", "note")


def test_a_copy_of_an_older_edgeimg_was_not_changed_by_hand(
    thin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "overlays/updates/usr/bin/edgeimg-update"
    (thin / name).parent.mkdir(parents=True)
    (thin / name).write_text("older")
    before = copies.examine(thin)[0].message
    digest = hashlib.sha256(b"older").hexdigest()[:16]
    monkeypatch.setattr(copies, "_copied", lambda: {name: digest})
    after = copies.examine(thin)[0].message
    assert "by hand: usr/bin/edgeimg-update" in before
    assert "1 of them are older" in after and "edgeimg-update" not in after


def test_the_list_of_copied_files_names_what_edgeimg_still_has() -> None:
    listed = copies._copied()
    assert {len(digest) for digest in listed.values()} == {16}
    assert all(name.startswith(copies._COPIED) for name in listed)
    assert len([name for name in listed if builtin.directory(name).is_file()]) > 80


def test_diff_says_which_built_in_parts_changed() -> None:
    def of(version: str, digit: str) -> Manifest:
        facts = {"version": version, "builtin": {"edgeimg:overlays/base": digit * 64}}
        return Manifest.from_json(json.dumps({**manifest("arm"), "edgeimg": facts}).encode())

    old = Manifest.from_json(json.dumps(manifest("arm")).encode())
    one, two = of("1.0", "a"), of("1.1", "b")
    changes = compare(one, two).sections["edgeimg"]
    assert [(c.name, c.before, c.after) for c in changes] == [
        ("edgeimg:overlays/base", "a" * 12, "b" * 12),
        ("version", "1.0", "1.1"),
    ]
    assert compare(old, one).sections == {}


def test_without_its_sources_the_stand_in_is_one_clear_line(tmp_path: Path) -> None:
    standin.require()
    with pytest.raises(HostError, match="only in a checkout") as caught:
        standin.require(tmp_path)
    assert "--k3s PATH" in str(caught.value.hint)
