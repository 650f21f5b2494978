"""What a stage may tell its user while it works; `edgeimg.ui` draws it, tests ignore it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol

Advance = Callable[[int], None]
Label = str | Callable[[], str]
"""Of a bar; asked again and again where it changes with the phase of the work."""
Unit = Literal["bytes", "items"]


class Progress(Protocol):
    """Progress bars and remarks; safe to call from several threads."""

    def task(
        self, label: Label, total: int | None, unit: Unit = "bytes"
    ) -> AbstractContextManager[Advance]:
        """Show a bar for the duration of the block; the callable adds to it."""

    def note(self, message: str) -> None:
        """Print a remark the user should see (a warning, a choice made for them)."""

    def debug(self, message: str) -> None:
        """Print a detail that only `-v` shows."""


class Silent:
    """A `Progress` that shows nothing."""

    @contextlib.contextmanager
    def task(self, label: Label, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield lambda _: None

    def note(self, message: str) -> None:
        """Show nothing."""

    def debug(self, message: str) -> None:
        """Show nothing."""
