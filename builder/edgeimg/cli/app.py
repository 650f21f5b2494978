"""Common parts of all commands: progress, results, and their options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import click
from rich.console import Console

from edgeimg.cache.store import Store, default_root
from edgeimg.cli.answer import Answer
from edgeimg.ui import Ui, new_console

Command = Callable[..., object]


@dataclass(frozen=True, kw_only=True)
class App:
    """Context of a command: progress, results, cache."""

    ui: Ui
    out: Console
    as_json: bool
    answer: Answer
    store: Store

    def result(self, data: Mapping[str, object], show: Callable[[Console], None]) -> None:
        """Print the command's result on stdout: `data` with --json, else the output of `show`."""
        if self.as_json:
            self.answer.add(data)
        else:
            show(self.out)


def with_app(function: Command) -> Command:
    """Give a command -v, -q and --json, and the App as its first argument."""

    @click.option("-v", "--verbose", is_flag=True, help="Show details of every step.")
    @click.option("-q", "--quiet", is_flag=True, help="Show errors and the result only.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
    @functools.wraps(function)
    def wrapper(
        *args: object, verbose: bool, quiet: bool, as_json: bool, **kwargs: object
    ) -> object:
        ui = Ui(verbosity=1 if verbose else -1 if quiet else 0)
        answer = click.get_current_context().ensure_object(Answer)
        store = Store(default_root(), ui)
        app = App(ui=ui, out=new_console(), as_json=as_json, answer=answer, store=store)
        with ui.live():
            return function(app, *args, **kwargs)

    return wrapper
