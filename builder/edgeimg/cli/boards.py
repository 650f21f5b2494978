"""edgeimg board list, check: boards without UEFI."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from edgeimg.build import boards
from edgeimg.cli import options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.table import new_table
from edgeimg.recipe import file
from edgeimg.recipe.file import RecipeFile


@click.group(
    "board",
    epilog="Examples: edgeimg board list    edgeimg board check --board boards/mine.toml",
)
def board_group() -> None:
    """Boards without UEFI: those of edgeimg, and one's own.

    `edgeimg build --board NAME` makes an image for one; the page "Boards" says how to add one.
    """


@click.command("list", epilog="Example: edgeimg board list --json")
@with_app
def list_command(app: App) -> None:
    """List the boards that come with edgeimg."""
    rows = [
        {"name": name, "arch": board.arch, "title": board.title}
        for name, board in file.shipped_boards().items()
    ]

    def show(console: Console) -> None:
        table = new_table("name", "architecture", "hardware")
        for row in rows:
            table.add_row(row["name"], row["arch"], Text(row["title"]))
        console.print(table)

    app.result({"boards": rows}, show)


@click.command("check", epilog="Example: edgeimg board check --board boards/mine.toml")
@options.board
@options.recipe
@with_app
def check_command(app: App, *, source: RecipeFile) -> None:
    """Check a board: its files, what collides on the disk, whether its boot loader counts starts.

    Reports all errors at once and builds nothing.
    """
    board = source.recipe.board
    loader = boards.check(source, store=app.store, ui=app.ui)
    if board is None or loader is None:
        raise click.UsageError("name a board: --board NAME, or [board] in the recipe")
    rows = [(f"{at} bytes", node.size) for at, node in sorted(loader.raw.items())]
    rows += [(path, node.size) for path, node in sorted(loader.esp.items())]

    def show(console: Console) -> None:
        table = new_table("place", "size", title=board.name)
        for place, size in rows:
            table.add_row(Text(place), f"{size:,}")
        console.print(table)
        console.print(Text("✓ no errors", style="green"))

    files = [{"place": place, "size": size} for place, size in rows]
    app.result({"board": board.name, "files": files, "cmdline": list(loader.words)}, show)


for _command in (list_command, check_command):
    board_group.add_command(_command)

COMMANDS: tuple[click.Command, ...] = (board_group,)
