"""Whatever a roll-out server answers, a command ends with its result or an error of edgeimg."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from edgeimg.errors import EdgeimgError, RolloutError
from edgeimg.fetch.api import Answer
from edgeimg.rollout.server import Server

from tests.hawkbit import HawkBit
from tests.rollout_desk import fleet, run

CHANGES = int(os.environ.get("EDGEIMG_TEST_ANSWERS", "40"))
"""Of one value in one answer, for each command."""
ODD = (None, True, -1, 2**63, 1.5, "", "x", "\x1b[31m", "²", [], [1], {}, {"a": 1}, [[]])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to each value in a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(child, (*path, key))
    return found


def changed(value: Any, random: Random) -> Any:
    """The value with one of its parts replaced or removed."""
    *above, last = random.choice(places(value)[1:] or [(None,)])
    if last is None:
        return random.choice(ODD)
    value = copy.deepcopy(value)
    parent = value
    for key in above:
        parent = parent[key]
    if random.random() < 0.2:
        del parent[last]
    else:
        parent[last] = random.choice(ODD)
    return value


@pytest.mark.parametrize("command", ["publish", "start", "status", "report", "stop"])
def test_a_changed_answer_is_used_or_refused(
    command: str,
    server: HawkBit,
    steps: Path,
    release: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, url = release
    fleet(server)
    random, parse = Random(command), Server._parse
    words: dict[str, tuple[object, ...]] = {
        "publish": (path, "--url", url),
        "start": ("gw", "1.1.0", "--steps", steps),
        "status": ("gw 1.1.0",),
        "report": ("gw 1.1.0", "--output", tmp_path / "report.html"),
        "stop": ("gw 1.1.0",),
    }
    run("publish", path, "--url", url)
    if command != "start":
        run("start", "gw", "1.1.0", "--steps", steps)
    refused = 0
    for _ in range(CHANGES):
        number = random.randrange(5)
        count = 0

        def answer(self: Server, found: Answer, path: str, _at: int = number) -> Any:
            nonlocal count
            count += 1
            value = parse(self, found, path)
            return changed(value, random) if count == _at + 1 else value

        monkeypatch.setattr(Server, "_parse", answer)
        try:
            run(command, *words[command])
        except EdgeimgError:
            refused += 1
    assert refused > 0


def test_a_list_without_end_is_left(server: HawkBit) -> None:
    page = b'{"content": [{"name": "x"}], "total": 1000000000000}'
    server.answers["GET /rest/v1/rollouts"] = (200, page)
    with pytest.raises(RolloutError, match="more than 2000 pages"):
        run("status", "gw 1.1.0")
