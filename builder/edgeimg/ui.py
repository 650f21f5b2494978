"""What edgeimg shows while it works: steps with times, progress bars, remarks — all on stderr."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment
from rich.text import Text

from edgeimg.progress import Advance, Label, Unit

LOG_WIDTH = 160
"""Columns of what goes into a file or a pipe: few tables need more."""


_BETWEEN_LINES = 3.0
"""Least seconds between two lines of progress."""
_LINES, _COLUMNS = 400, 2000
"""Most lines of a message, and characters of a line. Errors of a recipe and long paths fit."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 and C1 but for tabs and newlines, DEL, and what turns the direction of text around."""


def clean(text: str) -> str:
    """Text that others wrote, without what would control a terminal."""
    return _CONTROLS.sub("\ufffd", text)


def brief(text: str) -> str:
    """A message of at most `_LINES` lines and `_COLUMNS` characters a line; says what it left out.

    Error messages quote their input, which may be megabytes.
    """
    lines = text.split("\n")
    left = [f"… and {len(lines) - _LINES} lines more"] if len(lines) > _LINES else []
    return "\n".join([*map(_brief_line, lines[:_LINES]), *left])


def _brief_line(line: str) -> str:
    if len(line) <= _COLUMNS:
        return line
    half = _COLUMNS // 2
    return f"{line[:half]}… ({len(line) - 2 * half} characters) …{line[-half:]}"


class _CleanConsole(Console):
    """What is printed holds no control sequences but those of the styles."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            one if one.control else Segment(clean(one.text), one.style) for one in buffer
        )


def new_console(*, stderr: bool = False) -> Console:
    """Standard output or error, as wide as the terminal, as COLUMNS, or as a log."""
    known = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return _CleanConsole(stderr=stderr, highlight=False, width=None if known else LOG_WIDTH)


class Ui:
    """Draws progress; implements `edgeimg.progress.Progress`."""

    def __init__(self, *, verbosity: int = 0, console: Console | None = None) -> None:
        self.console = console or new_console(stderr=True)
        self.verbosity = verbosity
        self._bars: Progress | None = None
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show bars below the step lines for the duration of the block.

        On terminals only; one that cannot move its cursor (TERM=dumb) gets lines of text instead.
        """
        if self.verbosity < 0 or not self.console.is_terminal or self.console.is_dumb_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            _Labelled(),
            BarColumn(bar_width=20),
            _Amount(),
            _Time(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            self._bars = bars
            try:
                yield
            finally:
                self._bars = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to another program (one that asks for a passphrase) for the block."""
        if self._bars is None:
            yield
            return
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """One line of the step list: shown as running, then with the time it took."""
        began = time.monotonic()
        bar = self._bars.add_task(label, total=None) if self._bars else None
        try:
            yield
        except BaseException:
            self._line("✗", label, time.monotonic() - began, "red")
            raise
        else:
            self._line("✓", label, time.monotonic() - began, "green")
        finally:
            if bar is not None and self._bars:
                self._bars.remove_task(bar)

    @contextlib.contextmanager
    def task(self, label: Label, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:
        """Show a bar for the duration of the block; the callable adds to it."""
        bars = self._bars
        if bars is None:
            dumb = self.verbosity >= 0 and self.console.is_dumb_terminal
            yield _ProgressLines(label, total, self._print) if dumb and total else lambda _: None
            return
        fixed = label if isinstance(label, str) else ""
        bar = bars.add_task(f"  {fixed}", total=total, unit=unit, label=label)
        try:
            yield lambda amount: bars.advance(bar, amount)
        finally:
            bars.remove_task(bar)

    def note(self, message: str) -> None:
        """Print a remark the user should see."""
        if self.verbosity >= 0:
            self._print(Text("! ", style="yellow") + Text(brief(message)))

    def debug(self, message: str) -> None:
        """Print a detail that only `-v` shows."""
        if self.verbosity > 0:
            self._print(Text(brief(message), style="dim"))

    def _line(self, mark: str, label: str, seconds: float, style: str) -> None:
        if self.verbosity < 0:
            return
        with self._lock:
            line = Text.assemble((mark, style), " ", f"{label:<44}", (f"{seconds:7.1f} s", "dim"))
            self._print(line)

    def _print(self, text: Text) -> None:
        """Print a line; a terminal's is wrapped between words, a log's is left whole."""
        self.console.print(text, soft_wrap=not self.console.is_terminal)


class _ProgressLines:
    """Progress as text: a line for every 10 %, at most one in `_BETWEEN_LINES`."""

    def __init__(self, label: Label, total: int, show: Callable[[Text], None]) -> None:
        self._label, self._total, self._show = label, total, show
        self._done = 0
        self._shown = time.monotonic(), 0

    def __call__(self, amount: int) -> None:
        """Add to what is done."""
        self._done += amount
        tenths = min(10, 10 * self._done // self._total)
        when, last = self._shown
        if tenths > last and time.monotonic() - when > _BETWEEN_LINES:
            self._shown = time.monotonic(), tenths
            label = self._label if isinstance(self._label, str) else self._label()
            self._show(Text(f"  {label}: {tenths}0 %", style="dim"))


class _Labelled(ProgressColumn):
    """What is being done, as of now."""

    def render(self, task: Task) -> Text:
        """The first column of one bar."""
        label = task.fields.get("label")
        return Text(f"  {label()}" if callable(label) else task.description)


class _Time(ProgressColumn):
    """The time that is left of what is counted in bytes; else, the time that has passed."""

    def __init__(self) -> None:
        super().__init__()
        self._left, self._elapsed = TimeRemainingColumn(compact=True), TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        """The last column of one bar."""
        if task.total is None or task.fields.get("unit") != "bytes":
            return self._elapsed.render(task)
        return Text.assemble(self._left.render(task), " left")


class _Amount(ProgressColumn):
    """Bytes with speed, or a count of items, or nothing when the total is unknown."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._speed = DownloadColumn(binary_units=True), TransferSpeedColumn()
        self._items = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        """The amount column of one bar."""
        unit = task.fields.get("unit")
        if unit is None or (unit == "items" and task.total is None):
            return Text("")
        if unit == "items":
            return self._items.render(task)
        return Text.assemble(self._bytes.render(task), " ", self._speed.render(task))


def human(size: int) -> str:
    """`83.4 MiB` from bytes."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"
