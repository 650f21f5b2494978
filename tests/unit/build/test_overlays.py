"""[overlay] of a recipe: links and masks, and files on top of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.build import overlays
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.resolve.requests import digest
from edgeimg.tree import Tree

from tests.gateway_root import KEY


def recipe(directory: Path, overlay: str, name: str = "own.toml", include: str = "") -> RecipeFile:
    path = directory / "recipes" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{include}\n[overlay]\n{overlay}\n")
    return load(path)


def tree(source: RecipeFile) -> Tree:
    return overlays.read(source, source.recipe.for_arch(X86_64))


def test_masks_and_links_become_links(tmp_path: Path) -> None:
    source = recipe(tmp_path, 'mask = ["usr/lib/a.service"]\nlinks = {"etc/b" = "../run/b"}')
    found = tree(source)
    assert found["usr/lib/a.service"].target == "/dev/null"
    assert found["etc/b"].target == "../run/b"


def test_a_later_recipe_takes_masks_and_links_off(tmp_path: Path) -> None:
    recipe(tmp_path, 'mask = ["a", "b"]\nlinks = {"c" = "x", "d" = "y"}', "base.toml")
    source = recipe(
        tmp_path, 'mask = ["!a"]\nlinks = {"c" = "", "d" = "z"}', include='include = ["base.toml"]'
    )
    assert {path: node.target for path, node in tree(source).items()} == {
        "b": "/dev/null", "d": "z",
    }  # fmt: skip


def test_a_mask_may_become_a_link(tmp_path: Path) -> None:
    source = recipe(tmp_path, 'mask = ["a", "!a"]\nlinks = {"a" = "x"}')
    assert tree(source)["a"].target == "x"
    with pytest.raises(RecipeError, match="a is in mask and in links"):
        recipe(tmp_path, 'mask = ["a"]\nlinks = {"a" = "x"}')


def test_a_file_of_an_overlay_wins(tmp_path: Path) -> None:
    own = tmp_path / "mine/etc"
    own.mkdir(parents=True)
    (own / "a").write_text("own")
    (own / "b").symlink_to("own")
    source = recipe(
        tmp_path, 'paths = ["mine"]\nmask = ["etc/a", "etc/c"]\nlinks = {"etc/b" = "x"}'
    )
    found = tree(source)
    assert (found.read("etc/a"), found["etc/b"].target) == (b"own", "own")
    assert found["etc/c"].target == "/dev/null"


@pytest.mark.parametrize("path", ["/etc/a", "../a", "etc/../a", "etc/./a", "etc//a", "a/", "a\\nb"])
def test_paths_out_of_the_image_are_refused(tmp_path: Path, path: str) -> None:
    for overlay in (f'mask = ["{path}"]', f'mask = ["!{path}"]', f'links = {{"{path}" = "x"}}'):
        with pytest.raises(RecipeError, match=r"own\.toml:3: overlay"):
            recipe(tmp_path, overlay)
    with pytest.raises(RecipeError, match=r"own\.toml:3: overlay\.links"):
        recipe(tmp_path, 'links = {"etc/a" = "x\\ny"}')


def test_links_change_the_build_and_not_the_lock(tmp_path: Path) -> None:
    one = recipe(tmp_path, 'mask = ["a"]', "one.toml").recipe
    two = recipe(tmp_path, 'mask = ["b"]', "two.toml").recipe
    assert one.digest() != two.digest()
    assert digest(one) == digest(two)


def test_a_link_is_found_in_the_recipe_that_names_it(tmp_path: Path) -> None:
    recipe(tmp_path, 'mask = ["a"]\nlinks = {"c" = "x"}', "base.toml")
    source = recipe(
        tmp_path, '\nmask = ["b"]\nlinks = {"d" = "z"}', include='include = ["base.toml"]'
    )
    assert overlays.places(source) == {
        "a": ("recipes/base.toml", 3),
        "b": ("recipes/own.toml", 4),
        "c": ("recipes/base.toml", 4),
        "d": ("recipes/own.toml", 5),
    }


SSH = """
[services.ssh]
packages = ["dropbear-bin"]
command = ["dropbear", "-F"]
user = "root"
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"# ours\n\n{KEY}\r\nrestrict {KEY}", ""),
        (f"{KEY}\n{KEY[:50]}\n", ":2: the key is cut off"),
        (f'from="10.0.0.0/8" {KEY}\n', ":1: the ssh server of gateways refuses"),
        (KEY.replace(" ", "\t"), ":1: expected one blank between the parts"),
        (f"  {KEY}\n", ":1: expected one blank between the parts"),
        (f"\ufeff{KEY}\n", ":1: expected a public ssh key"),
    ],
)  # fmt: skip
def test_keys_of_the_image_are_such_that_somebody_can_log_in(
    tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "mine" / overlays.AUTHORIZED
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode())
    source = recipe(tmp_path, f'paths = ["mine"]\n{SSH}')
    if why:
        with pytest.raises(RecipeError, match=re.escape(why)):
            tree(source)
    else:
        assert overlays.AUTHORIZED in tree(source)
    # Another ssh server may read them otherwise.
    assert tree(recipe(tmp_path, 'paths = ["mine"]'))
