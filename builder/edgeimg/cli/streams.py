"""Standard output and error as the commands find them: any text goes in, and nothing raises twice.

Whatever a stream was given as, closed, full, a pipe that nobody reads or ASCII, is settled here,
once at the start. What cannot be written to standard output is an error of the host (exit code
13); what cannot be written to standard error is lost, and changes no exit code.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

import click

from edgeimg.errors import HostError
from edgeimg.ui import clean

Buffer = bytes | bytearray | memoryview


def prepare() -> None:
    """Settle the three streams of this process, and what a umask may take away."""
    os.umask(os.umask(0o077) & 0o077)  # what edgeimg writes, its owner can read
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # Or the next file that is opened would get the number, and the output. That of a
            # closed standard output cannot be written to either.
            os.dup2(os.open(os.devnull, flags), number)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__:  # not of a test
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr)


def abandon_output() -> None:
    """Drop what standard output did not take, or Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(HostError, OSError):
        sys.stdout.flush()


def say(message: str) -> None:
    """Print lines for people on standard error; what others wrote controls no terminal."""
    click.echo(clean(message), err=True)


class _Output(io.FileIO):
    def write(self, data: Buffer, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise HostError(
                f"cannot write to standard output: {error.strerror}",
                hint="see where it leads to",
            ) from None


class _Errors(io.FileIO):
    def write(self, data: Buffer, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _text(raw: io.FileIO, before: io.TextIOBase | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=raw.isatty() or isinstance(raw, _Errors),
        write_through=isinstance(raw, _Errors),
    )
