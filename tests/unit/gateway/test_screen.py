"""The screen of a gateway, on a pseudo terminal of this machine: what it writes, and where."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCREEN = Path(__file__).parents[3] / "overlays/base/usr/lib/edgeimg/screen"
ROWS, COLUMNS = 30, 100
_PLACE = re.compile(r"\x1b\[(\d+);(\d+)H")


@pytest.fixture
def read() -> Iterator[Callable[[str], str]]:
    """What the screen has written, as soon as a text is in it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    with subprocess.Popen(
        [SCREEN], stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, process_group=0
    ) as process:

        def until(text: str) -> str:
            nonlocal written
            deadline = time.monotonic() + 30
            while text.encode() not in written:
                assert time.monotonic() < deadline, f"no {text!r} in {written!r}"
                if select.select([master], [], [], 0.5)[0]:
                    written += os.read(master, 65536)
            return written.decode()

        yield until
        os.killpg(process.pid, 9)
    os.close(master)
    os.close(slave)


def test_it_paints_in_place_and_leaves_the_rest_to_the_kernel(read: Callable[[str], str]) -> None:
    said = read("Memory")
    assert socket.gethostname() in said
    assert "Factory reset" in said
    # Others write in the lines below the picture, and only those scroll.
    (region,) = re.findall(r"\x1b\[(\d+);(\d+)r", said)
    top = int(region[0])
    assert int(region[1]) == ROWS
    assert all(int(row) <= top for row, _ in _PLACE.findall(said))
    # The picture: cursor kept, every line at its place and erased to its end, nothing scrolls.
    picture = said[said.index(f"\x1b[{region[0]};{region[1]}r") :]
    assert "\n" not in picture
    assert picture.count("\x1b7") >= 1
    rows = [int(row) for row, _ in _PLACE.findall(picture)][1:]
    assert rows[: len(set(rows))] == list(range(5, top - 1))
