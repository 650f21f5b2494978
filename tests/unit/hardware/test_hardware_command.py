"""`edgeimg hardware` before it compares anything, and what its table prints."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.cli.table import new_table
from edgeimg.errors import MachineError, RecipeError
from rich.console import Console

PROJECT = Path(__file__).parents[3]


def run(*arguments: object) -> None:
    words = ["hardware", *map(str, arguments)]
    cli.main(words, standalone_mode=False, obj=Answer())


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "box.txt"
    path.write_text("edgeimg-hardware 1\narch aarch64\ndevice /devices/x - - platform:x\n")
    return path


def test_the_machine_and_the_recipe_have_one_architecture(machine: Path, tmp_path: Path) -> None:
    recipe = PROJECT / "recipes/gateway.toml"
    with pytest.raises(MachineError, match="the machine is arm64, the image is for arm") as raised:
        run(recipe, "--machine", machine, "--arch", "arm")
    assert raised.value.exit_code == 20
    only = tmp_path / "only.toml"
    only.write_text('include = ["edgeimg:gateway"]\n[image]\narchitectures = ["arm"]\n')
    with pytest.raises(RecipeError, match="is not for arm64, but for arm"):
        run(only, "--machine", machine)


def test_an_image_has_its_own_architecture(machine: Path, tmp_path: Path) -> None:
    image = tmp_path / "x.raw"
    image.write_bytes(b"")
    with pytest.raises(click.UsageError, match="leave --arch out"):
        run(image, "--machine", machine, "--arch", "arm64")


def test_headers_and_titles_of_tables_are_no_markup() -> None:
    console = Console(width=60)
    with console.capture() as capture:
        console.print(new_table("a [red]", title="x [/x] [b]"))
    text = "".join(capture.get().split())
    assert "x[/x][b]" in text
    assert "a[red]" in text
