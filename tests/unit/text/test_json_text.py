"""Foreign JSON and YAML are read within bounds; what is out of them is one clear error."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.text import bounded, json_text, yaml_text


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, -2.5, true, null]}', {"a": [1, -2.5, True, None]}),
        (b"\xef\xbb\xbf[]", []),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"18446744073709551615", 2**64 - 1),
        (b"[" * json_text.MAX_DEPTH + b"]" * json_text.MAX_DEPTH, None),
    ],
)
def test_json_is_read(data: bytes, value: object) -> None:
    parsed = json_text.parse(data)
    assert value is None or parsed == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "line 1: not JSON"),
        (b"[1,\n{]", "line 2: not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 70 + b"]" * 70, "nested too deeply"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested too deeply"),
        (b"9" * 5000, "a number of unreasonable size"),
        (b"1e999", "a number of unreasonable size"),
        (b"[NaN]", "not JSON: NaN"),
        (b"[-Infinity]", "not JSON: -Infinity"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b'"\xff"', "not UTF-8"),
        ('"x"'.encode("utf-16"), "not UTF-8"),
        (b" " * 2000, "larger than 1 KiB"),
        (b"[" + b"0," * 200 + b"0]", "more than 100 values"),
    ],
)
def test_what_is_no_json_or_out_of_bounds_is_said_in_words(data: bytes, says: str) -> None:
    limit = 1024 if "KiB" in says else json_text.MAX_BYTES
    values = 100 if "100" in says else json_text.MAX_VALUES
    with pytest.raises(json_text.MalformedError, match=says):
        json_text.parse(data, limit=limit, values=values)


def test_only_regular_files_are_read_and_no_more_than_their_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    assert bounded.read(tmp_path / "file", 8) == b"12345678"
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            bounded.read(path, 8)
    with pytest.raises(OSError, match="larger than"):
        bounded.read(tmp_path / "file", 7)


LAUGHS = "a0: &a0 x\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "more than 20000 values"),
        ("- a\n" * 260_000, "more than 20000 values"),
        ("---\n" * 250_000, "more than 20000 values"),
        ("[" * 500_000, "not YAML"),
        ("- " * 500_000, "not YAML"),
        ("&a [*a, *a]", "nested too deeply"),
        ("a: 1\n---\nb: 2\n", "f:3: a second document"),
        ("a: \x01", "control characters"),
    ],
)
def test_hostile_yaml_ends_soon(text: str, says: str) -> None:
    started = time.monotonic()
    with pytest.raises(ProvisionError, match=says):
        yaml_text.read(Path("f"), text)
    assert time.monotonic() - started < 10


def test_yaml_may_use_an_anchor_twice() -> None:
    value, lines = yaml_text.read(Path("f"), "a: &a [1, '1']\nb: *a\n")
    assert value == {"a": [1, "1"], "b": [1, "1"]}
    assert lines["b",] == 2
