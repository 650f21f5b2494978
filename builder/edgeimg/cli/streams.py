"""Prepares standard output and standard error: they accept any text and raise at most once.

Streams that are closed, full, a pipe without a reader or ASCII are handled here, once at the
start. A failed write to standard output is an error of the host (exit code 13). A failed write to
standard error is ignored and does not change the exit code.
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
    """Prepare the three streams of this process and its umask."""
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
    """Drop the output that could not be written, or Python would write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(HostError, OSError):
        sys.stdout.flush()


def say(message: str) -> None:
    """Print lines for people on standard error, without control characters of other sources."""
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
