"""The command line as programs and people meet it: names, help, exit codes, what goes where."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from edgeimg import cli as commands
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cli import PLACES, cli, options
from edgeimg.recipe.file import load

COMMANDS = sorted(PLACES)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program itself, with its exit code."""
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()"]
    return subprocess.run(
        [*program, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def test_every_command_of_every_module_is_offered() -> None:
    here = Path(commands.__file__).parent
    modules = {name: importlib.import_module(f"edgeimg.cli.{name}") for name in (
        path.stem for path in here.glob("*.py")
    )}  # fmt: skip
    found = {
        command.name: name
        for name, module in modules.items()
        for command in getattr(module, "COMMANDS", ())
        if name != "fleet_disks"  # of the group `fleet`
    }
    assert found == PLACES


def test_what_needs_nothing_imports_nothing() -> None:
    script = "import sys, edgeimg.cli; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert {"docker", "requests", "pydantic", "PIL"} & set(loaded) == set()


def test_the_help_lists_every_command_with_a_whole_sentence() -> None:
    result = CliRunner().invoke(cli, ["--help"], terminal_width=80)
    rows = [line.split(None, 1) for line in result.stdout.splitlines() if line.startswith("  ")]
    listed = {row[0]: row[1] for row in rows if row[0] in PLACES and len(row) > 1}
    assert set(listed) == set(PLACES)
    assert [name for name, text in listed.items() if not text.endswith(".")] == []
    assert [name for name, text in listed.items() if text.endswith("...")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"edgeimg {name}" in result.output.partition("Example")[2]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["aarch64"], (ARM64,)),
        (["ARMHF", "armv7"], (ARM,)),
        (["all", "amd64"], (X86_64, ARM64, ARM)),
    ],
)
def test_architectures_go_by_all_their_names(names: list[str], expected: tuple[Arch, ...]) -> None:
    seen: list[tuple[Arch, ...]] = []

    @click.command()
    @options.archs()
    def probe(archs: tuple[Arch, ...]) -> None:
        seen.append(archs)

    arguments = [word for name in names for word in ("--arch", name)]
    assert CliRunner().invoke(probe, arguments).exit_code == 0
    assert seen == [expected]


def test_unknown_architecture_is_a_usage_error(tmp_path: Path) -> None:
    done = run("build", "--arch", "riscv", cwd=tmp_path)
    assert done.returncode == 2
    assert "'riscv' is not one of x86-64, arm64, arm, all" in done.stderr


def test_errors_are_one_line_with_a_hint_and_json_when_asked(tmp_path: Path) -> None:
    done = run("smoke", "--arch", "arm64", "--json", cwd=tmp_path)
    assert done.returncode == 14
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 14
    assert "edgeimg build --arch arm64" in error["hint"]
    assert done.stderr.count("error:") == 1


def test_init_starts_a_project_that_loads_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert run("init", "gateway", cwd=tmp_path).returncode == 0
    recipe = tmp_path / "gateway/recipes/gateway.toml"
    assert load(recipe).recipe.image.id == "gateway"
    assert json.loads((recipe.parent / "recipe.schema.json").read_text())["properties"]
    assert run("lock", "--check", cwd=tmp_path / "gateway").returncode == 0
    recipe.write_text("[image]\nid = 'mine'\n")
    again = run("init", "gateway", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["written"] == []
    assert "mine" in recipe.read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_EDGEIMG_COMPLETE" in result.output


def test_doctor_tells_facts_as_json(tmp_path: Path) -> None:
    done = run("doctor", "--json", cwd=tmp_path)
    topics = {fact["topic"] for fact in json.loads(done.stdout)["findings"]}
    assert topics >= {"python", "host", "cache", "mirror", "go", "kvm"}
