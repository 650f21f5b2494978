"""What is shown while edgeimg works, on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import pytest
from edgeimg.ui import LOG_WIDTH, Ui, brief, new_console
from rich.console import Console

REMARK = "x86-64: compiling the stand-in for K3s, which is not K3s; this takes some minutes, once"


@pytest.mark.parametrize(("terminal", "most"), [(True, 40), (False, 2 + len(REMARK))])
def test_a_remark_is_wrapped_on_a_terminal_only(terminal: bool, most: int) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, color_system=None, width=40)
    Ui(console=console).note(REMARK)
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= most
    assert len(lines) == (3 if terminal else 1)
    assert " ".join(line.strip() for line in lines) == f"! {REMARK}"


def test_a_terminal_without_a_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the consoles of the installer: no bars, no blank lines, and tenths of long work."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("edgeimg.ui._BETWEEN_LINES", -1.0)
    written = io.StringIO()
    ui = Ui(console=Console(file=written, force_terminal=True, color_system=None, width=40))
    with ui.live(), ui.task("writing", 1000) as advance:
        for _ in range(3):
            with ui.aside():
                ui.note("x")
        for _ in range(30):
            advance(10)
        advance(700)
    lines = written.getvalue().splitlines()
    assert lines == ["! x"] * 3 + [f"  writing: {n}0 %" for n in (1, 2, 3, 10)]


def test_a_message_repeats_only_so_much_of_what_it_found() -> None:
    short = "\n".join(["x" * 2000] * 400)
    assert brief(short) == short
    long = brief(f"bad: {'y' * 5_000_000}!")
    assert long.startswith("bad: yyy")
    assert "… (4998006 characters) …" in long
    assert long.endswith("y!")
    assert brief("a\n" * 1000).splitlines()[-1] == "… and 601 lines more"
    # What a terminal would take for the end of a line is not one.
    assert brief("a\r\x0bb\u2028c") == "a\r\x0bb\u2028c"


def test_what_goes_into_a_pipe_has_room_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert new_console().width == LOG_WIDTH
    monkeypatch.setenv("COLUMNS", "70")
    assert new_console().width == 70
