"""Recipes: what is wrong is said whole, with its line; nothing makes a traceback."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from edgeimg.arch import ARCHITECTURES, ARM, ARM64
from edgeimg.compose import identity, prune
from edgeimg.errors import RecipeError
from edgeimg.pack import disk, uki
from edgeimg.recipe.file import load
from edgeimg.recipe.model import recipe_schema
from edgeimg.recipe.types import parse_size
from edgeimg.text.toml_text import key_lines
from edgeimg.tree import Tree, directory
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

DEFAULT = Path(__file__).parents[3] / "recipes/gateway.toml"

BAD = """\
[image]
id = "Gate way"
verson = "1"

[k3s]
source = "releas"

[budget]
root = "256 MX"

[arch.arm.packges]
include = []

[arch.riscv]

[arch.arm.kernel]
modules = 3
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    mirror = "https://me:hush@mirror.example.org"
    text = f"[k3s.registries.'docker.io']\nendpoints = ['{mirror}']\n"
    with pytest.raises(RecipeError, match=r"endpoints\.0: a value with '@'") as caught:
        load(write(tmp_path, text))
    assert "hush" not in caught.value.message


def test_default_recipe_loads_for_every_architecture() -> None:
    recipe = load(DEFAULT).recipe
    for arch in ARCHITECTURES:
        assert recipe.for_arch(arch).k3s.sha256[arch.name]


def test_every_error_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(write(tmp_path, BAD))
    told = [line.split("recipe.toml:")[1] for line in caught.value.message.splitlines()[1:]]
    assert [line.split(": ")[:2] for line in told] == [
        ["2", "image.id"],
        ["3", "image.verson"],
        ["6", "k3s.source"],
        ["9", "budget.root"],
        ["11", "arch.arm.packges"],
        ["14", "arch.riscv"],
        ["17", "arch.arm.kernel.modules"],
    ]
    assert "did you mean 'version'" in told[1]
    assert "did you mean 'release'" in told[2]
    assert "did you mean 'packages'" in told[4]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'[image]\nid = "a\n', "2: not"),
        (b"\xff\xfe", "1: UTF-16 text"),
        (b"\xe9", "1: not"),
        (b"[image]\nid = 'a'\nid = 'b'\n", "3: not"),
        (b"[image\n", "1: not"),
    ],
)
def test_text_that_is_not_toml_names_the_line(tmp_path: Path, text: bytes, place: str) -> None:
    with pytest.raises(RecipeError, match=f"recipe.toml:{place}"):
        load(write(tmp_path, text))


def test_overrides_merge_tables_append_lists_and_replace_the_rest(tmp_path: Path) -> None:
    text = """
    [packages]
    include = ["systemd"]
    [kernel]
    cmdline = ["quiet"]
    [k3s.config]
    a = 1
    [arch.arm.packages]
    include = ["busybox"]
    [arch.arm.k3s.config]
    b = 2
    [arch.arm.image]
    slot = "1 GiB"
    """
    recipe = load(write(tmp_path, text)).recipe
    arm = recipe.for_arch(ARM)
    assert arm.packages.include == ("systemd", "busybox")
    assert arm.k3s.config == {"a": 1, "b": 2}
    assert arm.image.slot == 1 << 30
    assert recipe.for_arch(ARM64).packages.include == ("systemd",)


def test_digest_ignores_comments_and_order(tmp_path: Path) -> None:
    one = load(write(tmp_path, "[image]\nid='a'\nversion='1'\n")).recipe.digest()
    two = load(write(tmp_path, "# x\n[image]\nversion='1'\nid='a'\n")).recipe.digest()
    other = load(write(tmp_path, "[image]\nversion='2'\nid='a'\n")).recipe.digest()
    assert one == two != other


def test_key_lines_knows_tables_and_dotted_keys() -> None:
    lines = key_lines("[a.b]\nc.d = 1\n\n[[e]]\n'f' = 2\n")
    assert lines[("a", "b")] == 1
    assert lines[("a", "b", "c", "d")] == 2
    assert lines[("e", 0, "f")] == 5


@pytest.mark.parametrize(
    ("text", "size"), [("1 KiB", 1024), ("1.5 MiB", 3 << 19), (7, 7), ("2 GB", 2 * 10**9)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


def test_schema_describes_every_table() -> None:
    described = recipe_schema()
    assert set(described["properties"]) >= {"image", "packages", "kernel", "k3s", "arch"}
    assert described["additionalProperties"] is False


def test_the_recipes_that_come_along_are_valid_by_their_schema() -> None:
    validator = Draft202012Validator(recipe_schema())
    for path in sorted(DEFAULT.parent.glob("**/*.toml")):
        if not path.name.endswith(".lock.toml"):
            assert list(validator.iter_errors(tomllib.loads(path.read_text()))) == [], path
    assert not validator.is_valid({"budget": {"download": ["120 MiB"]}})


_LATE = """\
[image]
compression = "zip"
slot = 0
epoch = 0x{big}
hostname = "a_b"
[packages]
prune = ["/usr/share/doc"]
[kernel]
cmdline = ["a b"]
modules = [""]
[overlay]
paths = ["/etc"]
[k3s.sha256]
amd64 = "{sha}"
[k3s.config]
day = 2020-01-01
share = nan
many = [0x{big}]
[k3s.config.inner]
time = 07:32:00
[budget]
root = "{digits} MiB"
"""


def test_what_would_break_a_later_stage_is_told_by_the_recipe(tmp_path: Path) -> None:
    text = _LATE.format(big="f" * 6000, sha="a" * 64, digits="9" * 500)
    with pytest.raises(RecipeError) as caught:
        load(write(tmp_path, text))
    told = [line.split("recipe.toml:")[1] for line in caught.value.message.splitlines()[1:]]
    assert [line.split(": ")[:2] for line in told] == [
        ["2", "image.compression"],
        ["3", "image.slot"],
        ["4", "image.epoch"],
        ["5", "image.hostname"],
        ["7", "packages.prune.0"],
        ["9", "kernel.cmdline.0"],
        ["10", "kernel.modules.0"],
        ["12", "overlay.paths.0"],
        ["14", "k3s.sha256.amd64"],
        ["16", "k3s.config.day"],
        ["17", "k3s.config.share"],
        ["18", "k3s.config.many"],
        ["20", "k3s.config.inner.time"],
        ["22", "budget.root"],
    ]


def test_an_image_is_not_larger_than_one_that_is_read(tmp_path: Path) -> None:
    assert load(write(tmp_path, "[image]\nslot = '31 GiB'\n")).recipe.image.slot == 31 << 30
    with pytest.raises(RecipeError, match=r"image: its partitions have 64\.2 GiB: expected"):
        load(write(tmp_path, "[image]\nslot = '32 GiB'\n"))


@pytest.mark.parametrize(
    "text",
    [
        f"[image]\nepoch = {'9' * 5000}",
        f"[k3s.config]\n{'.'.join('a' * 1500)} = 1",
        f"{'.'.join('a' * 1500)} = 1",
        f"[k3s.config]\na = {'[' * 5000}{']' * 5000}",
    ],
    ids=["digits", "deep config", "deep key", "deep list"],
)
def test_unreasonable_values_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        load(write(tmp_path, text))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "include", "arm", "config", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def _mutate(data: dict[str, object], path: list[int], value: object) -> dict[str, object]:
    """Replace the value that `path` leads to (by position) with `value`; None deletes it."""
    if not data:
        return {"x": value}
    name = sorted(data)[path[0] % len(data)]
    inner = data[name]
    if isinstance(inner, dict) and len(path) > 1:
        return {**data, name: _mutate(inner, path[1:], value)}
    if value is None:
        return {key: kept for key, kept in data.items() if key != name}
    return {**data, name: value}


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value if v is not None]
    return value


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=4), _VALUES), max_size=3)
)
def test_mutated_recipes_load_or_say_why(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[list[int], object]]
) -> None:
    data: dict[str, object] = tomllib.loads(DEFAULT.read_text())
    for path, value in changes:
        data = _mutate(data, path, value)
    text = tomli_w.dumps(_without_none(data))  # type: ignore[arg-type]
    _load_or_explain(write(tmp_path_factory.mktemp("recipe"), text))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 40), st.binary(max_size=20))
def test_damaged_recipes_load_or_say_why(
    tmp_path_factory: pytest.TempPathFactory, where: int, length: int, junk: bytes
) -> None:
    raw = DEFAULT.read_bytes()
    where %= len(raw)
    _load_or_explain(
        write(tmp_path_factory.mktemp("recipe"), raw[:where] + junk + raw[where + length :])
    )


def _load_or_explain(path: Path) -> None:
    """What loads can be planned: what is written from the recipe alone is made here."""
    try:
        source = load(path)
    except RecipeError as error:
        assert str(path) in error.message
        return
    for arch in ARCHITECTURES:
        recipe = source.recipe.for_arch(arch)
        assert recipe.digest()
        tree = prune.prune(Tree({"usr": directory()}), recipe.packages.prune)
        config = identity.add_identity(tree, recipe, arch).get("etc/rancher/k3s/config.yaml")
        assert config is None or "NaN" not in config.read().decode()
        plan = disk.plan(recipe, arch, "0" * 64, {"root-a": 1 << 20, "root-a-verity": 1 << 20})
        assert plan.size >= 77 << 20
        assert "\n" not in uki.cmdline(arch, root_hash="0" * 64, extra=recipe.kernel.cmdline)
