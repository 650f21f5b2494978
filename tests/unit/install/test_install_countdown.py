"""The line that stops a countdown is taken off the terminal."""

from __future__ import annotations

import os
import pty
import sys

import pytest
from edgeimg.install import countdown


def test_the_line_that_stops_it_answers_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert not countdown.key_pressed(0.01)
        os.write(ours, b"\n")
        assert countdown.key_pressed(5)
        assert not countdown.key_pressed(0.2)
    os.close(ours)
