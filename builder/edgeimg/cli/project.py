"""edgeimg init, doctor, completion."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from rich.console import Console
from rich.text import Text

from edgeimg.cache.store import disk_errors
from edgeimg.cli.app import App, with_app
from edgeimg.errors import HostError
from edgeimg.project import doctor as diagnosis
from edgeimg.project import template
from edgeimg.recipe.model import schema


@click.command(epilog="Example: edgeimg init my-gateway && cd my-gateway && edgeimg lock")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--schema", "only_schema", is_flag=True, help="Print the recipe's JSON Schema only.")
@with_app
def init(app: App, *, directory: Path, only_schema: bool) -> None:
    """Start a project.

    A commented recipe, its JSON Schema for editors, and an overlay.

    Existing files are never overwritten.
    """
    if only_schema:
        click.echo(json.dumps(schema(), indent=2))
        return
    with disk_errors(directory):
        written = template.write(directory)
    names = [str(path) for path in written]

    def show(console: Console) -> None:
        for name in names:
            console.print(f"wrote {name}", highlight=False)
        console.print("next: edit the recipe, then `edgeimg lock` and `edgeimg build`")

    app.result({"written": names}, show)


@click.command(epilog="Example: edgeimg doctor --json")
@with_app
def doctor(app: App) -> None:
    """Report what this host can do and what is missing. Exits with 13 if it cannot build."""
    findings = diagnosis.examine(app.store)

    def show(console: Console) -> None:
        marks = {"ok": ("✓", "green"), "note": ("•", "yellow"), "bad": ("✗", "red")}
        for finding in findings:
            mark, style = marks[finding.state]
            line = Text.assemble((f"{mark} ", style), (f"{finding.topic:<12}", "bold"))
            console.print(line + Text(finding.message))
            if finding.advice:
                console.print(Text(f"  {'':<12}{finding.advice}", style="dim"))

    app.result({"findings": [finding.to_json() for finding in findings]}, show)
    if any(finding.state == "bad" for finding in findings):
        raise HostError("this host cannot build images as it is; see above")


@click.command(epilog='Example: eval "$(edgeimg completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell. Evaluate it in its start-up file."""
    complete = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if complete is None:
        raise HostError(f"no completion for {shell}")
    click.echo(complete(root, {}, "edgeimg", "_EDGEIMG_COMPLETE").source())


COMMANDS: tuple[click.Command, ...] = (init, doctor, completion)
