"""One program on the screen and the serial line: what it prints goes to both, and either types.

The installer's stick runs its menu by it: `python3 -m edgeimg.install.consoles LOG PROGRAM …`. The
program has a terminal of its own (pty(7)). LOG gets what it prints, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

_ACTIVE = Path("/sys/class/tty/console/active")
_FOREGROUND = {"tty0": "tty1"}
"""The kernel's name for the virtual terminal in the foreground, and which it is on a stick."""
_SIZE = struct.pack("HHHH", 24, 80, 0, 0)
"""Lines and columns: a serial line has none that one could ask for."""
_CHUNK = 4096
_WAITING = 1 << 16
"""Bytes that wait for a console. A serial line may have nobody at its end."""
_LAST = 1.0
"""Seconds for the last lines of a program."""


class Console:
    """A terminal that the program is shown on."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or termios.error for a terminal that is not there."""
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            tty.setraw(self.fd)
        except termios.error:
            os.close(self.fd)
            raise
        self.waiting = b""
        self.is_readable = True

    def read(self) -> bytes:
        """What was typed. A console that fails is not read again."""
        try:
            typed = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            typed = b""
        self.is_readable = bool(typed)
        return typed

    def show(self, text: bytes) -> None:
        """Have text written as soon as the console takes it; of too much, the end."""
        self.waiting = (self.waiting + text)[-_WAITING:]

    def write(self) -> None:
        """Write what it takes now."""
        try:
            count = os.write(self.fd, self.waiting)
        except BlockingIOError:
            return
        except OSError:
            count = len(self.waiting)
        self.waiting = self.waiting[count:]


def active() -> list[Path]:
    """The consoles of the kernel."""
    names = _ACTIVE.read_text().split()
    return [Path("/dev", _FOREGROUND.get(name, name)) for name in names]


def run(argv: Sequence[str], paths: Sequence[Path], log: BinaryIO) -> int:
    """Run a program on these terminals to its end; its exit status. Missing ones are left out."""
    consoles = []
    for path in paths:
        with contextlib.suppress(OSError, termios.error):
            consoles.append(Console(path))
    child, master = pty.fork()
    if child == 0:
        os.execvp(argv[0], [*argv])
    fcntl.ioctl(master, termios.TIOCSWINSZ, _SIZE)
    while (text := _exchange(master, consoles)) is not None:
        log.write(text)
        log.flush()
    _finish(consoles)
    os.close(master)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _exchange(master: int, consoles: Sequence[Console]) -> bytes | None:
    """Wait, and pass on what is there; what the program has printed. None when it has ended."""
    readers = {one.fd: one for one in consoles if one.is_readable}
    writers = {one.fd: one for one in consoles if one.waiting}
    readable, writable, _ = select.select([master, *readers], list(writers), [])
    for fd in writable:
        writers[fd].write()
    for fd in readable:
        if fd != master and (typed := readers[fd].read()):
            os.write(master, typed)
    if master not in readable:
        return b""
    try:
        text = os.read(master, _CHUNK)
    except OSError:  # EIO: nobody has the other end open
        return None
    for console in consoles:
        console.show(text)
    return text or None


def _finish(consoles: Sequence[Console]) -> None:
    """Write what waits, as far as the consoles take it within a second, and close them."""
    end = time.monotonic() + _LAST
    while (waiting := {one.fd: one for one in consoles if one.waiting}) and time.monotonic() < end:
        _, writable, _ = select.select([], list(waiting), [], _LAST / 10)
        for fd in writable:
            waiting[fd].write()
    for console in consoles:
        os.close(console.fd)


def main() -> NoReturn:
    """Run the program of the command line on the kernel's consoles; see the module."""
    with Path(sys.argv[1]).open("ab") as log:
        sys.exit(run(sys.argv[2:], active(), log))


if __name__ == "__main__":
    main()
