"""The inputs that tests/fuzz begins with, and small changes of them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.readers import READERS, Reader

CHANGES = 40
"""Of one byte each, for a reader; tests/fuzz/run.py makes more."""


def read(reader: Reader, data: bytes, directory: Path) -> None:
    work = directory / "work"
    work.mkdir(parents=True)
    path = directory / "input"
    path.write_bytes(reader.wrap(data, Random(1)))
    reader.read(path, work)


@pytest.mark.parametrize("name", READERS)
def test_the_inputs_to_begin_with_are_sound(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(READERS[name].seeds()):
        read(READERS[name], seed, tmp_path / str(number))


@pytest.mark.parametrize("name", READERS)
def test_a_changed_input_is_read_or_refused_as_documented(name: str, tmp_path: Path) -> None:
    reader, random = READERS[name], Random(name)
    seeds = reader.seeds()
    changed = [b""]
    for _ in range(CHANGES):
        data = bytearray(random.choice(seeds))
        data[random.randrange(len(data))] = random.randrange(256)
        changed.append(bytes(data))
    refused = 0
    for number, data in enumerate(changed):
        try:
            read(reader, data, tmp_path / str(number))
        except reader.errors:
            refused += 1
    assert refused > 0
