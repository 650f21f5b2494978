"""edgeimg itself as files of the installer's root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgeimg import builtin
from edgeimg.arch import X86_64
from edgeimg.build import program
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import plan_build
from edgeimg.compose import byte_code
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load

PLACE = "usr/lib/python3/dist-packages/edgeimg"


def test_it_has_the_modules_and_one_recipe() -> None:
    tree = program.tree()
    assert f"{PLACE}/cli/installing.py" in tree
    assert tree.read(f"{PLACE}/data/recipes/gateway.toml") == (
        builtin.directory("recipes/gateway.toml").read_bytes()
    )
    paths = [path for path, _ in tree.items()]
    data = [path for path in paths if path.startswith(f"{PLACE}/data/")]
    assert data == [f"{PLACE}/data/recipes", f"{PLACE}/data/recipes/gateway.toml"]
    assert not [path for path in paths if "__pycache__" in path or path.endswith(".pyc")]


def test_install_runs_from_it_alone(tmp_path: Path) -> None:
    program.tree().extract(tmp_path)
    place = tmp_path / PLACE
    code = f"import edgeimg.cli.installing as it; assert it.__file__.startswith({str(place)!r})"
    argv = [sys.executable, "-B", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(place.parent)}
    subprocess.run(argv, check=True, cwd=tmp_path, env=environment)


def test_what_debian_has_no_package_of_is_not_needed_to_install(tmp_path: Path) -> None:
    code = (
        "import sys, edgeimg.cli.installing\n"
        "used = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(used - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    used = set(done.stdout.split())
    assert "pydantic" in used
    assert not used & {"system_calls", "cyclonedx", "packageurl", "jinja2", "markupsafe"}


def test_models_that_are_not_used_are_not_built() -> None:
    code = (
        "import edgeimg.cli.installing\n"
        "from edgeimg.recipe.model import Recipe\n"
        "from edgeimg.provision.settings import Settings\n"
        "print(Recipe.__pydantic_complete__, Settings.__pydantic_complete__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_only_the_installer_has_byte_code() -> None:
    options = BuildOptions(output=Path("out"))
    installer = program.plan_installer(program.recipe(), X86_64, options)
    assert byte_code.GROUP in installer.lock.tools
    gateway = plan_build(load(builtin.find("gateway")), X86_64, options)
    assert byte_code.GROUP not in gateway.lock.tools


def test_consoles_are_words_of_the_command_line_behind_the_others() -> None:
    recipe = program.recipe()
    more = program.with_consoles(recipe, ["ttyS1,115200n8", "ttyUSB0"])
    words = more.recipe.kernel.cmdline
    assert words == (*recipe.recipe.kernel.cmdline, "console=ttyS1,115200n8", "console=ttyUSB0")
    options = BuildOptions(output=Path("out"))
    plans = [program.plan_installer(one, X86_64, options) for one in (recipe, more)]
    assert plans[0].key != plans[1].key
    assert program.with_consoles(recipe, []).recipe == recipe.recipe


@pytest.mark.parametrize("console", ["COM1", "ttyS1 quiet", "ttyS1,115200n8,", ""])
def test_what_is_no_console_is_refused(console: str) -> None:
    with pytest.raises(RecipeError, match="expected a console"):
        program.with_consoles(program.recipe(), [console])
