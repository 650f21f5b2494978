"""`[check]` in a recipe: what it may say, and that it changes no image."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import ARM, X86_64
from edgeimg.check import accept
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.rules import RULES

GATEWAY = Path(__file__).parents[3] / "recipes/gateway.toml"


def recipe(directory: Path, text: str) -> Recipe:
    path = directory / "recipe.toml"
    path.write_text(text)
    return load(path).recipe


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('accept = ["setuid"]', "expected 'RULE:PLACE'"),
        ('accept = ["setuid:"]', "expected 'RULE:PLACE'"),
        ('accept = ["setuidd:usr/bin/x"]', "did you mean 'setuid'?"),
        ('accept = ["nonsense:usr/bin/x"]', "known: no-pie"),
        ('accept = ["setuid:/usr/bin/x"]', "without the leading '/'"),
        ('accept = ["library:usr/bin/x"]', "'library' cannot be accepted"),
        ('accept = ["budget:root"]', "'budget' cannot be accepted"),
        ('accept = "setuid:usr/bin/x"', "check.accept"),
        ('listening = ["6443"]', "such as '6443/tcp'"),
        ('listening = ["0/tcp"]', "such as '6443/tcp'"),
        ('listening = ["65536/tcp"]', "such as '6443/tcp'"),
        ('listening = ["30-20/udp"]', "such as '6443/tcp'"),
        ("ports = []", "unknown key"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, f"[image]\n\n[check]\n{line}\n")
    assert told in str(caught.value)
    assert "recipe.toml:4:" in str(caught.value)


def test_exceptions_do_not_change_an_image(tmp_path: Path) -> None:
    with_check = recipe(tmp_path, '[check]\naccept = ["setuid:usr/bin/x"]\nlistening = []\n')
    assert with_check.digest() == Recipe().digest()
    assert with_check.check != Recipe().check


def test_an_architecture_adds_to_the_recipe_and_to_the_defaults(tmp_path: Path) -> None:
    text = '[arch.arm.check]\nlistening = ["22/tcp"]\naccept = ["setuid:usr/bin/x"]\n'
    found = recipe(tmp_path, text)
    assert found.for_arch(ARM).check.listening == (*Recipe().check.listening, "22/tcp")
    assert found.for_arch(ARM).check.accept == ("setuid:usr/bin/x",)
    assert found.for_arch(X86_64).check == Recipe().check


def test_the_default_recipe_names_the_default_ports_and_its_services() -> None:
    expected = ("22/tcp", "9080/tcp", *Recipe().check.listening)
    assert load(GATEWAY).recipe.check.listening == expected


def test_the_exceptions_of_every_image_are_of_rules_that_may_be_accepted() -> None:
    assert accept.defaults()
    for entry in accept.defaults():
        assert RULES[entry.partition(":")[0]].acceptable


def test_the_documentation_names_every_rule() -> None:
    text = (GATEWAY.parents[1] / "docs/reference/checks.md").read_text()
    assert [name for name in RULES if f"`{name}`" not in text] == []
