"""TOML texts that others wrote: what is too much for tomllib ends before it."""

from __future__ import annotations

import pytest
from edgeimg.text import toml_text

MANY = 60_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (".".join("a" * MANY) + " = 1", 1),
        ("x = 1\n[" + ".".join("a" * MANY) + "]\n" + "k1 = 1\n", 2),
        ("\n\n[[ " + " . ".join('"a"' for _ in range(MANY)) + "]]", 3),
        (r'"\"" . ' + ".".join("a" * MANY) + " = 1", 1),
        ("x = {b = 1, " + ".".join("a" * MANY) + " = 1}", 1),
    ],
    ids=["key", "table", "array", "escape", "inline"],
)
def test_a_key_of_too_many_parts_is_refused_at_once(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"^{line}: .*more than 64 parts"):
        toml_text.parse(text)


def test_dots_in_values_and_quoted_keys_do_not_count() -> None:
    dots = ".".join("a" * 500)
    text = f'[{".".join("a" * 64)}]\nb = "{dots}" # {dots}\n"{dots}" = 1'
    table = toml_text.parse(text)
    for _ in range(64):
        table = table["a"]  # type: ignore[assignment]
    assert table["b"] == dots
    assert table[dots] == 1
