"""One program on two terminals: pseudo-terminals in the place of screen and serial line."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.install import consoles

from tests.terminal import Terminal

_ASK = 'printf "name: "; read -r name; test -t 0 && echo "hello, $name"; exit 7'


@pytest.fixture
def people() -> Iterator[list[Terminal]]:
    both = [Terminal(), Terminal()]
    yield both
    for one in both:
        one.hang_up()
        one.close()


def run(
    people: list[Terminal], script: str, *more: Path
) -> tuple[threading.Thread, list[int], io.BytesIO]:
    status: list[int] = []
    log = io.BytesIO()
    paths = [*(one.path for one in people), *more]

    def work() -> None:
        status.append(consoles.run(["sh", "-c", script], paths, log))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, status, log


@pytest.mark.parametrize("typist", [0, 1])
def test_either_answers_and_both_see_it(people: list[Terminal], typist: int) -> None:
    thread, status, log = run(people, _ASK)
    for one in people:
        one.until("name: ")
    people[typist].type("box-1\n")
    for one in people:
        one.until("hello, box-1\r\n")
    thread.join(20)
    assert status == [7]
    assert b"hello, box-1" in log.getvalue()


def test_ctrl_c_reaches_the_program(people: list[Terminal]) -> None:
    thread, status, _ = run(people, "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done")
    people[1].until("ready")
    people[1].type("\x03")
    thread.join(20)
    assert status == [9]


def test_a_console_that_is_not_there_is_left_out(people: list[Terminal]) -> None:
    thread, status, _ = run(people, "echo here", Path("/dev/null"), Path("/dev/none"))
    people[0].until("here")
    thread.join(20)
    assert status == [0]


def test_a_console_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    log = io.BytesIO()
    script = "yes 'a line of forty characters, or nearly so' | head -n 20000; echo end"
    status = consoles.run(["sh", "-c", script], [Path(os.ttyname(theirs))], log)
    assert status == 0
    assert log.getvalue().endswith(b"end\r\n")
    os.close(ours)
    os.close(theirs)
