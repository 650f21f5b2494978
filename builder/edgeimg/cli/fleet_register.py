"""edgeimg fleet register: targets and tokens of a fleet at the roll-out server."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

import click

from edgeimg.cli import fleet_options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.rollout import with_server
from edgeimg.errors import ProvisionError
from edgeimg.fleet import rollout_tokens
from edgeimg.fleet.reading import Fleet
from edgeimg.rollout import register
from edgeimg.rollout.register import Action, Registration
from edgeimg.rollout.server import Server

_RESULTS: dict[Action, str] = {"register": "registered", "adopt": "adopted", "exists": "exists"}
_PLANS: dict[Action, str] = {**_RESULTS, "register": "to register", "adopt": "to adopt"}


@click.command(
    "register", epilog="Example: edgeimg fleet register gateways.csv --server URL --dry-run"
)
@with_server
@with_app
@fleet_options.fleet(secrets=False)
@fleet_options.only
@click.option("--dry-run", is_flag=True, help="Show what would be done and change nothing.")
def register_command(
    app: App, *, server: Server, fleet: Fleet, only: tuple[str, ...], dry_run: bool
) -> None:
    """Register the gateways of a fleet file at a roll-out server, each with its own token.

    The tokens are stored beside FILE as FILE.rollout, which only its owner can read; `fleet flash`
    and `fleet images` provision them. Gateways that exist at the server are not changed.
    """
    chosen = fleet.named(only).gateways
    if own := [one.name for one in chosen if one.own_rollout_token]:
        raise ProvisionError(
            f"{fleet.path} names rollout.token_file of {', '.join(own[:10])}",
            hint="remove the key to have tokens made, or register these gateways yourself and "
            "leave them out with --only",
        )
    names = [one.name for one in chosen]
    where = rollout_tokens.kept(fleet.path)
    with contextlib.nullcontext() if dry_run else rollout_tokens.locked(fleet.path):
        known = rollout_tokens.read(fleet.path)
        planned = register.plan(server, names, known, rollout_tokens.new, rollout_tokens.is_token)
        added = {one.name: one.token for one in planned if one.name not in known}
        if added and not dry_run:
            rollout_tokens.keep(fleet.path, {**known, **added})
        if not dry_run:
            register.register(server, planned)
    words = _PLANS if dry_run else _RESULTS
    data: dict[str, object] = {
        "tokens": str(where),
        "gateways": [{"name": one.name, "result": words[one.action]} for one in planned],
    }
    app.result(data, lambda console: console.print(_summary(planned, words, str(where))))


def _summary(planned: Sequence[Registration], words: dict[Action, str], where: str) -> str:
    counts = Counter(words[one.action] for one in planned)
    figures = ", ".join(f"{counts[word]} {word}" for word in words.values() if counts[word])
    return f"{len(planned)} gateways: {figures}; tokens: {where}"
