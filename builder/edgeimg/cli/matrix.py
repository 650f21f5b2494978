"""edgeimg matrix."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from edgeimg.cli.app import App, with_app
from edgeimg.cli.table import new_table
from edgeimg.project.matrix import list_jobs, list_recipes


@click.command(epilog="Example: edgeimg matrix --json recipes/gateway.toml --board raspberrypi")
@click.argument("recipes", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="NAME|FILE",
    help="Also list the image for this board; may be repeated.",
)
@with_app
def matrix(app: App, *, recipes: tuple[Path, ...], boards: tuple[str, ...]) -> None:
    """List the images of a project as jobs of a pipeline.

    One job for each recipe, architecture and board. Without RECIPES: all locked ones in recipes/.

    With --json, `github` is for `strategy: matrix` and `gitlab` for `parallel: matrix`.
    """
    jobs = list_jobs(recipes or list_recipes(Path("recipes")), boards)

    def show(console: Console) -> None:
        table = new_table("recipe", "architecture", "board", "image")
        for job in jobs:
            table.add_row(job.recipe, job.arch, job.board, job.image)
        console.print(table)

    data = {
        "github": {"include": [job.to_json() for job in jobs]},
        "gitlab": [job.variables() for job in jobs],
    }
    app.result(data, show)


COMMANDS: tuple[click.Command, ...] = (matrix,)
