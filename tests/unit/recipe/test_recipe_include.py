"""Recipes that start from others: what is merged, and that errors name the right file."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.text.toml_text import key_lines

BASE = """\
[image]
id = "base"
version = "1"

[packages]
include = ["systemd"]

[services.ssh]
packages = ["dropbear-bin"]
command = ["dropbear"]
"""


def project(root: Path, **files: str) -> Path:
    (root / "recipes").mkdir()
    for name, text in files.items():
        (root / "recipes" / f"{name}.toml").write_text(text)
    return root / "recipes/top.toml"


def test_tables_are_merged_lists_appended_and_the_rest_replaced(tmp_path: Path) -> None:
    top = project(
        tmp_path,
        base=BASE,
        more='[packages]\ninclude = ["kmod"]\n[image]\nid = "more"\n',
        top='include = ["base.toml", "more.toml"]\n[image]\nid = "top"\n'
        '[services.ssh]\nmemory = "8 MiB"\n[packages]\ninclude = ["busybox"]\n',
    )
    source = load(top)
    assert (source.recipe.image.id, source.recipe.image.version) == ("top", "1")
    assert source.recipe.packages.include == ("systemd", "kmod", "busybox")
    assert source.recipe.services["ssh"].command == ("dropbear",)
    assert source.recipe.services["ssh"].memory == 8 << 20
    assert [path.name for path in source.files] == ["base.toml", "more.toml", "top.toml"]
    assert source.lock_path.name == "top.lock.toml"


def test_an_error_names_the_file_that_it_is_in(tmp_path: Path) -> None:
    top = project(
        tmp_path,
        base=BASE + "[budget]\nroot = 'much'\n",
        top='include = ["base.toml"]\n[image]\nverson = "2"\n'
        '[packages]\ninclude = ["fine", "not fine"]\n',
    )
    with pytest.raises(RecipeError) as caught:
        load(top)
    told = [line.strip() for line in caught.value.message.splitlines()[1:]]
    assert told[0].startswith(f"{tmp_path}/recipes/base.toml:12: budget.root: ")
    assert told[1].startswith(f"{tmp_path}/recipes/top.toml:3: image.verson: unknown key")
    assert told[2].startswith(f"{tmp_path}/recipes/top.toml:5: packages.include.2: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('include = "base.toml"\n', "1: include: expected a list"),
        ("\ninclude = [3]\n", "2: include: expected a list"),
        ('include = ["top.toml"]\n', "1: include: top.toml includes itself"),
        ('include = ["loop.toml"]\n', "1: include: top.toml includes itself"),
        ('include = ["none.toml"]\n', "cannot read the recipe"),
    ],
)
def test_what_cannot_be_included(tmp_path: Path, text: str, told: str) -> None:
    top = project(tmp_path, base=BASE, loop='include = ["top.toml"]\n', top=text)
    with pytest.raises(RecipeError, match=told):
        load(top)


def test_quoted_keys_may_have_dots() -> None:
    lines = key_lines('[a."b.c/d:1"]\nx = 1\n"y.z" = 2\n')
    assert lines["a", "b.c/d:1", "x"] == 2
    assert lines["a", "b.c/d:1", "y.z"] == 3
