"""One program on two terminals: pseudo-terminals in the place of screen and serial line."""

from __future__ import annotations

import io
import os
import pty
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from edgeimg.install import consoles

_ASK = 'printf "name: "; read -r name; test -t 0 && echo "hello, $name"; exit 7'


@dataclass
class Person:
    """Somebody at a terminal."""

    end: int
    path: Path
    seen: bytearray = field(default_factory=bytearray)

    def read(self) -> None:
        while True:
            try:
                self.seen += os.read(self.end, 4096)
            except OSError:
                return

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, bytes(self.seen)
            time.sleep(0.01)


@pytest.fixture
def people() -> Iterator[list[Person]]:
    opened = [pty.openpty() for _ in range(2)]
    both = [Person(end=ours, path=Path(os.ttyname(theirs))) for ours, theirs in opened]
    for one in both:
        threading.Thread(target=one.read, daemon=True).start()
    yield both
    for pair in opened:
        for end in pair:
            os.close(end)


def run(people: list[Person], script: str, *more: Path) -> tuple[threading.Thread, list[int]]:
    status: list[int] = []
    log = io.BytesIO()
    paths = [*(one.path for one in people), *more]

    def work() -> None:
        status.append(consoles.run(["sh", "-c", script], paths, log))
        people[0].log = log.getvalue()  # type: ignore[attr-defined]

    thread = threading.Thread(target=work)
    thread.start()
    return thread, status


@pytest.mark.parametrize("typist", [0, 1])
def test_either_answers_and_both_see_it(people: list[Person], typist: int) -> None:
    thread, status = run(people, _ASK)
    for one in people:
        one.until("name: ")
    os.write(people[typist].end, b"box-1\n")
    for one in people:
        one.until("hello, box-1\r\n")
    thread.join(20)
    assert status == [7]
    assert b"hello, box-1" in people[0].log  # type: ignore[attr-defined]


def test_ctrl_c_reaches_the_program(people: list[Person]) -> None:
    thread, status = run(people, "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done")
    people[1].until("ready")
    os.write(people[1].end, b"\x03")
    thread.join(20)
    assert status == [9]


def test_a_console_that_is_not_there_is_left_out(people: list[Person]) -> None:
    thread, status = run(people, "echo here", Path("/dev/null"), Path("/dev/none"))
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
