"""edgeimg rollout publish, start, status, report, …: versions at a roll-out server."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg.cache import store
from edgeimg.cli.app import App, with_app
from edgeimg.cli.table import new_table
from edgeimg.errors import RolloutError
from edgeimg.fetch.api import Api
from edgeimg.fetch.http import has_credentials
from edgeimg.report.rollout import rollout_page
from edgeimg.rollout import publish, start
from edgeimg.rollout.facts import read_facts
from edgeimg.rollout.plan import Planned
from edgeimg.rollout.server import Server, credentials
from edgeimg.rollout.state import RolloutState, Verb, drive_rollout, find_rollout, read_state
from edgeimg.rollout.steps import read_steps

Function = Callable[..., object]
_LOOKS = {"finished": "green", "error": "red", "running": "yellow", "paused": "yellow"}
_PAUSE = 10.0
"""Seconds between two looks of `status --wait`."""


def with_server(function: Function) -> Function:
    """Give a command --server, and the Server as an argument."""

    @click.option(
        "--server",
        "address",
        default="",
        envvar="EDGEIMG_ROLLOUT_SERVER",
        metavar="URL",
        help="Address of the roll-out server.",
    )
    @functools.wraps(function)
    def wrapper(*args: object, address: str, **kwargs: object) -> object:
        if not address:
            raise click.UsageError("name the server: --server URL, or EDGEIMG_ROLLOUT_SERVER")
        _require_address(address)
        with closing(Api(address, *credentials())) as api:
            return function(*args, server=Server(api), **kwargs)

    return wrapper


def _require_address(address: str) -> None:
    if not address.startswith(("https://", "http://")):
        raise click.BadParameter("an address begins with https:// or http://")
    if has_credentials(address):  # it would be in messages, and at the server
        raise click.BadParameter("an address without a name and a password")


@click.group(
    "rollout",
    epilog="Examples: edgeimg rollout publish out/release/0.3.0 "
    "--url https://updates.example.org/gateway/0.3.0    edgeimg rollout status 'gateway 0.3.0'",
)
def rollout_group() -> None:
    """Bring a release to many gateways in steps.

    A hawkBit server gives the orders and hears the results. EDGEIMG_ROLLOUT_USER and
    EDGEIMG_ROLLOUT_PASSWORD are your name and password at the server. EDGEIMG_ROLLOUT_SERVER is its
    address, in place of --server.
    """


@click.command("publish", epilog="Example: edgeimg rollout publish out/release/0.3.0 --url URL")
@click.argument("release", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--url", required=True, metavar="URL", help="Where the files of RELEASE are served.")
@with_server
@with_app
def publish_command(app: App, *, server: Server, release: Path, url: str) -> None:
    """Make a release known to the roll-out server: its version, its address, its digest.

    RELEASE is a directory of `edgeimg release`. The server stores none of its files.
    """
    _require_address(url)
    version = publish.read(release, url)
    number = publish.publish(server, version)
    message = f"{version.image} {version.version} is known to the server: {version.url}"
    app.result(
        {"id": number, "image": version.image, "version": version.version, "url": version.url,
         "sums": version.sums},
        lambda console: console.print(Text(message)),
    )  # fmt: skip


@click.command("start", epilog="Example: edgeimg rollout start gateway 0.3.0 --steps steps.toml")
@click.argument("image")
@click.argument("version")
@click.option(
    "--steps",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the groups.",
)
@click.option("--name", default="", help="Name of the roll-out.  [default: IMAGE VERSION]")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["forced", "soft", "downloadonly"]),
    default="forced",
    show_default=True,
    help="'downloadonly' leaves the version in the other slot, where it does not start.",
)
@click.option("--dry-run", is_flag=True, help="Show the groups and change nothing.")
@with_server
@with_app
def start_command(
    app: App, *, server: Server, image: str, version: str, steps: Path, name: str,
    kind: start.Kind, dry_run: bool,
) -> None:  # fmt: skip
    """Start the roll-out of a published version.

    Servers come before agents, and never two servers of one cluster together.
    """
    order = start.Order(
        name=name or f"{image} {version}", image=image, version=version, kind=kind,
        steps=read_steps(steps),
    )  # fmt: skip
    groups = start.prepare(server, order)
    data: dict[str, object] = {
        "name": order.name,
        "groups": [{"gateways": one.gateways, **one.to_json()} for one in groups],
    }
    if not dry_run:
        with app.ui.task("The server makes the groups", None):
            data["id"] = start.start(server, order, groups)
    app.result(data, lambda console: _show_groups(console, groups))


_silent = click.option(
    "--silent",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="A gateway with an open order is silent after this time without a poll.",
)


@click.command("status", epilog="Example: edgeimg rollout status 'gateway 0.3.0' --wait 120")
@click.argument("name")
@_silent
@click.option(
    "--wait",
    type=click.IntRange(min=1),
    metavar="MINUTES",
    help="Wait until the roll-out ends or is paused by failures, at most for this time.",
)
@with_server
@with_app
def status_command(app: App, *, server: Server, name: str, silent: int, wait: int | None) -> None:
    """Show how a roll-out goes: its groups, why gateways failed, which ones are silent.

    Exits with 22 when the server has paused it because too many gateways failed, and when --wait
    is over before the roll-out has ended.
    """
    number = find_rollout(server, name)
    state = read_state(server, number, silent=silent * 60)
    if wait is not None:
        state = _wait(app, server, number, silent * 60, wait * 60, state)
    app.result(state.to_json(), lambda console: _show(console, state))
    if state.has_failed:
        raise RolloutError(
            f"roll-out {name} is paused: too many gateways failed",
            hint="`edgeimg rollout resume` goes on with the next group, `stop` ends it",
        )
    if wait is not None and not state.has_ended:
        raise RolloutError(f"roll-out {name} has not ended after {wait} minutes")


@click.command("report", epilog="Example: edgeimg rollout report 'gateway 0.3.0' -o rollout.html")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write.",
)
@_silent
@with_server
@with_app
def report_command(app: App, *, server: Server, name: str, output: Path, silent: int) -> None:
    """Write a report of a roll-out: progress over time, failures by reason, sites, silent gateways.

    The file holds everything it shows, and has no script.
    """
    with app.ui.task("The server lists the gateways", None):
        facts = read_facts(server, find_rollout(server, name), silent=silent * 60)
    store.write_whole(output, rollout_page(facts).encode())
    app.result(
        {"report": str(output), "gateways": len(facts.gateways)},
        lambda console: console.print(Text(str(output))),
    )


def _wait(
    app: App, server: Server, number: int, silent: float, wait: float, state: RolloutState
) -> RolloutState:
    until = time.monotonic() + wait
    total = sum(one.total for one in state.groups)
    ended = 0
    with app.ui.task(f"Rolling out {state.name}", total, "items") as advance:
        while True:
            now = sum(one.succeeded + one.failed for one in state.groups)
            advance(now - ended)
            ended = now
            if state.has_ended or time.monotonic() >= until:
                return state
            time.sleep(min(_PAUSE, max(0.0, until - time.monotonic())))
            state = read_state(server, number, silent=silent)


def _driver(verb: Verb, about: str) -> click.Command:
    @click.command(verb, help=about, epilog=f"Example: edgeimg rollout {verb} 'gateway 0.3.0'")
    @click.argument("name")
    @with_server
    @with_app
    def command(app: App, *, server: Server, name: str) -> None:
        drive_rollout(server, find_rollout(server, name), verb)
        past = {"pause": "paused", "resume": "resumed", "stop": "stopped"}[verb]
        data: dict[str, object] = {"name": name, "done": past}
        app.result(data, lambda console: console.print(Text(f"{name}: {past}")))

    return command


def _show_groups(console: Console, groups: tuple[Planned, ...]) -> None:
    table = new_table("Group", "Gateways", "Next after", "Pauses above")
    for one in groups:
        cells = (str(one.gateways), f"{one.success} % success", f"{one.failures} % failures")
        table.add_row(Text(one.name), *cells)
    console.print(table)


def _show(console: Console, state: RolloutState) -> None:
    console.print(Text(f"{state.name}: {state.status}", style=_LOOKS.get(state.status, "")))
    table = new_table("Group", "Status", "Gateways", "Succeeded", "Failed", "Running")
    for one in state.groups:
        figures = (one.total, one.succeeded, one.failed, one.running)
        status = Text(one.status, style=_LOOKS.get(one.status, ""))
        table.add_row(Text(one.name), status, *map(str, figures))
    console.print(table)
    for reason in state.reasons:
        code = "without a code" if reason.code is None else f"code {reason.code}"
        shown = ", ".join(reason.gateways[:10]) + (" …" if len(reason.gateways) > 10 else "")
        console.print(Text(f"{len(reason.gateways)} failed, {code}, {reason.text}: {shown}"))
        for line in reason.example[:5]:
            console.print(Text(f"    {line}", style="dim"))
    if state.silent:
        shown = ", ".join(state.silent[:20]) + (" …" if len(state.silent) > 20 else "")
        console.print(Text(f"{len(state.silent)} silent: {shown}", style="yellow"))


for _command in (
    publish_command,
    start_command,
    status_command,
    report_command,
    _driver("pause", "Pause a roll-out: no further group begins."),
    _driver("resume", "Resume a roll-out. A group that failed is left, the next one begins."),
    _driver("stop", "Stop a roll-out. Gateways that have begun finish; no other one begins."),
):
    rollout_group.add_command(_command)

COMMANDS: tuple[click.Command, ...] = (rollout_group,)
