"""The documentation: it builds without a warning, and the reference is complete."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from edgeimg import errors
from edgeimg.cli import cli
from edgeimg.errors import SigningKeyError
from edgeimg.install.rules import Rules
from edgeimg.provision.settings import Settings, settings_schema
from edgeimg.recipe.model import Recipe, recipe_schema
from edgeimg.text.validation import Table
from jsonschema import Draft202012Validator

from tests.docs_commands import PROJECT, Line, lines, pages
from tests.levels import LEVELS
from tests.unit.test_imports import ROOMS

SITE = PROJECT / "docs/site"
OTHER_PROGRAMS = {
    "bash", "cd", "cp", "dd", "export", "gdisk", "git", "gpg", "gpgv", "grep", "head", "install",
    "journalctl", "kubectl", "pipx", "python3", "sed", "sha256sum", "sort", "ssh", "tail",
    "umount", "uv", "wg-quick", "zstd",
}  # fmt: skip
"""Programs of others that the pages call."""


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", SITE / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(config: Path, target: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*argv, "--config-file", config, "--site-dir", target], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(SITE / "mkdocs.yml", target)
    assert done.returncode == 0, done.stderr
    return target


def test_the_site_asks_no_other_host_for_anything(site: Path) -> None:
    found = list(site.rglob("*.html"))
    assert len(found) > 25
    for page in found:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?([^\s\">]+)", text)
        assert loaded, page
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], page


def test_the_site_can_be_searched_without_a_server(site: Path) -> None:
    index = (site / "search/search_index.js").read_text()
    assert "EDGEIMG_CACHE_LIMIT" in index
    assert "var __index" in index


def test_a_link_to_a_page_that_does_not_exist_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    for name in ("builder", "overlays"):
        (tmp_path / name).symlink_to(PROJECT / name)
    config = tmp_path / "docs/site/mkdocs.yml"
    page = tmp_path / "docs/how-to/flash.md"
    page.write_text(page.read_text() + "\n[nowhere](nowhere.md) [anchor](updates.md#nowhere)\n")
    done = build(config, tmp_path / "out")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "#nowhere" in done.stderr


def models(root: type[Table]) -> Iterator[type[Table]]:
    """A table and all tables in it."""
    waiting: list[Any] = [root]
    seen: set[Any] = set()
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, Table):
            if kind not in seen:
                seen.add(kind)
                yield kind
                waiting += [field.annotation for field in kind.model_fields.values()]
        else:
            waiting += [one for one in typing.get_args(kind) if not isinstance(one, str | int)]


def sections(page: str) -> list[set[str]]:
    """The keys of each table of a generated page."""
    return [set(re.findall(r"^\| `([^`]+)` \|", part, re.M)) for part in page.split("\n## ")]


@pytest.mark.parametrize(("root", "path"), [(Recipe, "recipe"), (Settings, "settings")])
def test_every_key_is_in_the_reference(
    root: type[Table], path: str, reference: ModuleType, site: Path
) -> None:
    shown = sections(reference.pages()[f"reference/{path}.md"])
    page = (site / f"reference/{path}.html").read_text()
    every = list(models(root))
    assert len(every) > 5
    for model in every:
        keys = {field.alias or name for name, field in model.model_fields.items()}
        assert any(keys <= section for section in shown), (model.__name__, keys)
        assert [key for key in keys if f"<code>{key}</code>" not in page] == []


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for below in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), below)
            assert found is not None
            yield from commands(found, f"{name} {below}")


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/commands.html").read_text()
    every = dict(commands(cli, "edgeimg"))
    assert len(every) > 25
    for name, command in every.items():
        start = page.index(f'<h2 id="{name.replace(" ", "-")}">')
        section = page[start : page.find("<h2", start + 1)]
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        assert [o for o in options if f"<code>{o}</code>" not in section] == [], name


def test_every_exit_code_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/exit-codes.html").read_text()
    shown = {int(code) for code in re.findall(r"<code>(\d+)</code>", page)}
    every = [error for error in vars(errors).values() if isinstance(error, type)]
    codes = {error.exit_code for error in every if issubclass(error, errors.EdgeimgError)}
    assert shown == {0, errors.USAGE, errors.INTERRUPTED, *codes}


def test_every_variable_of_the_code_is_in_the_reference(reference: ModuleType) -> None:
    assert set(reference.ENVIRONMENT) == reference.variables()


def test_every_program_of_the_gateway_is_in_the_reference(
    site: Path, reference: ModuleType
) -> None:
    page = (site / "reference/gateway-commands.html").read_text()
    assert [path.name for path in reference.programs() if f"<code>{path.name}" not in page] == []
    assert len(reference.programs()) >= 4


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    text = (PROJECT / "docs/reference/glossary.md").read_text()
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.M)
    assert len(words) > 40
    assert words == sorted(set(words), key=str.lower)


def test_contributing_has_every_room_from_the_top_down() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    rows = [re.findall(r"`([\w.]+)/?`", line) for line in text.splitlines() if line[:3] == "| `"]
    shown = [name.removesuffix(".py") for row in rows for name in row[: len(row)]]
    for rank in ROOMS[1:]:
        for name in rank:
            assert name in shown, name
    firsts = [next(shown.index(name) for name in sorted(rank)) for rank in ROOMS[1:]]
    assert firsts == sorted(firsts)


EVERY = [line for page in pages() for line in lines(page)]


def test_no_command_hides_outside_of_a_shell_block() -> None:
    for page in pages():
        hidden = re.findall(r"^    (?:sudo |\./)*edgeimg.*", page.read_text(), re.M)
        assert hidden == [], page
    assert len(EVERY) > 60


@pytest.mark.parametrize("line", EVERY, ids=lambda line: f"{line.page}: {line.text[:60]}")
def test_every_command_line_is_one(line: Line, reference: ModuleType) -> None:
    for words in line.commands():
        check(words, {path.name for path in reference.programs()})


def check(words: list[str], on_gateway: set[str]) -> None:
    """Raises where a program does not exist, or does not take these words."""
    program = words[0].removeprefix("./").removeprefix(".venv/bin/")
    if program == "edgeimg":
        parse(words[1:])
    elif program == "tests/run":
        assert set(words[1:]) - {"--strict"} <= set(LEVELS)
    elif program == "python":
        named = [word for word in words if word.startswith("tests/")]
        assert [name for name in named if not (PROJECT / name).exists()] == []
    elif program in {"just", "mkdocs"} or "/" in program:
        assert "/" not in program or (PROJECT / program).exists(), program
    else:
        assert program in on_gateway | OTHER_PROGRAMS, program


def parse(words: list[str]) -> None:
    """As the program parses its arguments, but that the files they name need not exist."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None, words
        command = found
    try:
        command.make_context("edgeimg", rest)
    except click.exceptions.Exit:
        pass
    except (click.BadParameter, SigningKeyError) as error:
        if "does not exist" not in error.message and "there is no" not in error.message:
            raise AssertionError(shlex.join(words)) from error


def test_a_wrong_command_line_is_noticed() -> None:
    for text in ("edgeimg bulid", "edgeimg build --archs arm", "edgeimg flash", "tests/run uint"):
        line = Line(page="", text=text, skipped="")
        with pytest.raises((AssertionError, click.UsageError)):
            check(line.commands()[0], set())


def toml_blocks() -> list[tuple[str, str]]:
    found = [
        (page, re.findall(r"^```toml.*?\n(.*?)^```", page.read_text(), re.M | re.S))
        for page in pages()
    ]
    return [(page.name, text) for page, texts in found for text in texts]


def test_every_recipe_and_every_settings_file_that_is_shown_is_good() -> None:
    """Each block is a part of one or the other; unknown keys and wrong values fail."""
    blocks = toml_blocks()
    assert len(blocks) > 8
    for name, text in blocks:
        values = tomllib.loads(text)
        if not fits(values):
            raise AssertionError(f"{name}: neither a recipe nor settings:\n{text}")
    assert not fits({"image": {"versoin": "1"}})


def fits(values: dict[str, Any]) -> bool:
    """As a recipe, as settings, as rules of the installer, or as rows of a fleet."""
    recipe = {key: value for key, value in values.items() if key != "include"}
    if set(values) == {"defaults", "gateway"}:
        own = {"disk_serial", "serial", "mac", "arch"}
        rows = [{k: v for k, v in row.items() if k not in own} for row in values["gateway"]]
        return all(fits(row) for row in [values["defaults"], *rows])
    schemas = (recipe_schema, settings_schema, Rules.model_json_schema)
    validators = (Draft202012Validator(schema()) for schema in schemas)
    return any(validator.is_valid(recipe) for validator in validators)
