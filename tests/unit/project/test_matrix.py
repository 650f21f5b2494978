"""The jobs of a pipeline: every image once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.errors import RecipeError
from edgeimg.project import matrix, template


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A project with two recipes, and a part without a lock."""
    template.write(tmp_path)
    folder = tmp_path / "recipes"
    text = (folder / "gateway.toml").read_text()
    other = text.replace('id = "gateway" ', 'id = "other"\narchitectures = ["x86-64"]\n')
    (folder / "other.toml").write_text(other)
    shutil.copy(folder / "gateway.lock.toml", folder / "other.lock.toml")
    (folder / "part.toml").write_text("")
    return folder


def test_every_recipe_has_a_job_for_each_architecture(
    recipes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(recipes.parent)
    answer = Answer()
    cli.main(["matrix", "--json"], standalone_mode=False, obj=answer)
    answer.print()
    document = json.loads(capsys.readouterr().out)
    jobs = document["github"]["include"]
    assert [(job["recipe"], job["arch"], job["image"]) for job in jobs] == [
        ("recipes/gateway.toml", "x86-64", "gateway_0.1.0_x86-64"),
        ("recipes/gateway.toml", "arm64", "gateway_0.1.0_arm64"),
        ("recipes/gateway.toml", "arm", "gateway_0.1.0_arm"),
        ("recipes/other.toml", "x86-64", "other_0.1.0_x86-64"),
    ]
    upper = [{name.upper(): value for name, value in job.items()} for job in jobs]
    assert document["gitlab"] == upper
    assert {job["board"] for job in jobs} == {""}


def test_a_board_adds_a_job_where_it_fits(recipes: Path) -> None:
    jobs = matrix.list_jobs([recipes / "gateway.toml"], ["raspberrypi"])
    assert [(job.arch, job.board) for job in jobs] == [
        ("x86-64", ""), ("arm64", ""), ("arm", ""), ("arm64", "raspberrypi"),
    ]  # fmt: skip
    assert jobs[-1].image == "gateway_0.1.0_arm64_raspberrypi"
    with pytest.raises(RecipeError, match="raspberrypi"):
        matrix.list_jobs([recipes / "other.toml"], ["raspberrypi"])


def test_two_recipes_of_one_image_are_refused(recipes: Path) -> None:
    shutil.copy(recipes / "gateway.toml", recipes / "same.toml")
    with pytest.raises(RecipeError, match="both make gateway"):
        matrix.list_jobs([recipes / "gateway.toml", recipes / "same.toml"])


def test_a_directory_without_locked_recipes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "part.toml").write_text("")
    with pytest.raises(RecipeError):
        matrix.list_recipes(tmp_path)
