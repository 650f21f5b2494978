"""edgeimg init, show, eject, doctor, completion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class
from rich.console import Console
from rich.text import Text

from edgeimg import builtin
from edgeimg.cache.store import disk_errors
from edgeimg.cli import options
from edgeimg.cli.app import App, with_app
from edgeimg.errors import HostError
from edgeimg.project import board_doctor, copies, ejection, template
from edgeimg.project.doctor import Fact, examine_host
from edgeimg.recipe import board_reports
from edgeimg.recipe.model import recipe_schema


@click.command(epilog="Example: edgeimg init my-gateway && cd my-gateway && edgeimg lock")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option(
    "--ci", type=click.Choice(sorted(template.PIPELINES)), help="Write the release pipeline, too."
)
@click.option("--schema", "only_schema", is_flag=True, help="Print the recipe's JSON Schema only.")
@with_app
def init(app: App, *, directory: Path, ci: str | None, only_schema: bool) -> None:
    """Start a project.

    A recipe that includes edgeimg's own, its lock and JSON Schema, and an overlay.

    Existing files are never overwritten.
    """
    if only_schema:
        click.echo(json.dumps(recipe_schema(), indent=2))
        return
    with disk_errors(directory):
        paths = template.write(directory, ci)
    names = [str(path) for path in paths]

    def show(console: Console) -> None:
        for name in names:
            console.print(f"wrote {name}", highlight=False)
        console.print("next: edit the recipe, then `edgeimg lock` and `edgeimg build`")

    app.result({"written": names}, show)


def _complete_name(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    del ctx, param
    bare = incomplete.removeprefix(builtin.PREFIX)
    prefix = builtin.PREFIX if incomplete.startswith(builtin.PREFIX) else ""
    return [CompletionItem(prefix + n) for n in builtin.names() if n.startswith(bare)]


@click.command(epilog="Examples: edgeimg show    edgeimg show gateway")
@click.argument("name", required=False, shell_complete=_complete_name)
@with_app
def show(app: App, *, name: str | None) -> None:
    """Print a built-in recipe or file.

    Without NAME, list their names. Recipes include built-in recipes as edgeimg:NAME.
    """
    path = builtin.find(name) if name else builtin.directory()
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        data = {"name": builtin.name_of(path), "text": text}
        app.result(data, lambda _: click.echo(text, nl=False))
        return
    prefix = f"{builtin.name_of(path)}/" if name else ""
    names = [path_name for path_name in builtin.names() if path_name.startswith(prefix)]
    app.result({"names": names}, lambda _: click.echo("\n".join(names)))


@click.command(epilog="Example: edgeimg eject overlays/base/usr/lib/systemd/system/k3s.service")
@click.argument("name", shell_complete=_complete_name)
@with_app
def eject(app: App, *, name: str) -> None:
    """Copy a built-in recipe or file into the project.

    There it can be changed. Copied files get no more updates from edgeimg. Nothing is overwritten.
    """
    with disk_errors(Path()):
        copied = ejection.eject(name, Path())
    data = {"written": [str(path) for path in copied.written], "use": copied.use}

    def present(console: Console) -> None:
        for path in copied.written:
            console.print(f"wrote {path}", highlight=False, markup=False)
        console.print(copied.use, highlight=False, markup=False)

    app.result(data, present)


@click.command(epilog="Examples: edgeimg doctor --json    edgeimg doctor --board raspberrypi")
@click.option("--board", metavar="NAME|FILE", help="Report what is known of a board.")
@with_app
def doctor(app: App, *, board: str | None) -> None:
    """Report what this host supports and lacks. Exits with 13 if it cannot build.

    With --board, report what is known of a board: how far QEMU's model goes, and who has seen it on
    hardware.
    """
    if board is not None:
        chosen = options.load_recipe(None, board).recipe.board
        assert chosen is not None
        _show_facts(app, board_doctor.examine(chosen, board_reports.read()))
        return
    findings = [*examine_host(app.store), *copies.examine(Path())]
    _show_facts(app, findings)
    if any(finding.state == "bad" for finding in findings):
        raise HostError("this host cannot build images; see above")


def _show_facts(app: App, findings: Sequence[Fact]) -> None:

    def show(console: Console) -> None:
        marks = {"ok": ("✓", "green"), "note": ("•", "yellow"), "bad": ("✗", "red")}
        for finding in findings:
            mark, style = marks[finding.state]
            line = Text.assemble((f"{mark} ", style), (f"{finding.topic:<12}", "bold"))
            console.print(line + Text(finding.message))
            if finding.advice:
                console.print(Text(f"  {'':<12}{finding.advice}", style="dim"))

    app.result({"findings": [finding.to_json() for finding in findings]}, show)


@click.command(epilog='Example: eval "$(edgeimg completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell. Evaluate it in its start-up file."""
    complete = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if complete is None:
        raise HostError(f"no completion for {shell}")
    click.echo(complete(root, {}, "edgeimg", "_EDGEIMG_COMPLETE").source())


COMMANDS: tuple[click.Command, ...] = (init, show, eject, doctor, completion)
