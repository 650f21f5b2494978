"""Common options of fleets: the file, rules, default settings, secrets, labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

from edgeimg.cli.app import App, Command
from edgeimg.cli.options import load_recipe
from edgeimg.cli.provisioning import asking
from edgeimg.fleet import label, printing, reading, rollout_tokens, token
from edgeimg.fleet.labels import Style
from edgeimg.fleet.ledger import Ledger, Read
from edgeimg.fleet.reading import Fleet
from edgeimg.fleet.rollout_tokens import RolloutTokens
from edgeimg.provision import advice, consents, masking

with_rules = click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Install unattended, by the rules in this file (TOML).",
)
with_fleet = click.option(
    "--fleet",
    "fleet_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of a fleet (CSV or TOML): the machine becomes one of its gateways.",
)
with_defaults = click.option(
    "--defaults",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default settings (TOML) for all gateways of the fleet.",
)


def fleet(*, secrets: bool) -> Callable[[Command], Command]:
    """Give a command FILE and its options; it receives the Fleet as `fleet`.

    Without `secrets`, the command does not ask for secrets that are missing in the files.
    """

    def decorate(function: Command) -> Command:
        @click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
        @with_defaults
        @click.option(
            "--generate-token",
            is_flag=True,
            help="One token for the cluster, made once and kept beside FILE as FILE.token.",
        )
        @functools.wraps(function)
        def wrapper(
            app: App,
            *args: object,
            path: Path,
            defaults: Path | None,
            generate_token: bool,
            **kwargs: object,
        ) -> object:
            image = kwargs.get("image")
            takes = consents.beside(image) if isinstance(image, Path) else None
            allowed = takes.allow if takes else load_recipe(None).recipe.provision.allowed
            found = load(
                app, path, defaults, generate_token=generate_token, secrets=secrets, allowed=allowed
            )
            for gateway in found.gateways:
                consents.require_parts(takes, gateway.settings, f"{gateway.name}: the image")
                for warning in advice.warnings(gateway.settings):
                    app.ui.note(f"warning: {gateway.name}: {warning}")
            return function(app, *args, fleet=found, **kwargs)

        return wrapper

    return decorate


def load(
    app: App,
    path: Path,
    defaults: Path | None,
    *,
    generate_token: bool,
    secrets: bool,
    allowed: tuple[str, ...],
    asks: bool = True,
) -> Fleet:
    """The gateways of a file. With `secrets`, secrets that are missing in the files are asked for;
    without, they are left out. Where nobody can be asked, without `asks`, they are errors. Raises
    ProvisionError.
    """
    if not secrets and rollout_tokens.is_unreadable(path):
        app.ui.note(f"the tokens in {rollout_tokens.kept(path)} are another user's: not read")
        stored = {}
    else:
        stored = rollout_tokens.read(path)
    if secrets:
        known_token = None
        if generate_token:
            known_token, is_new = token.generate(path)
            action = "generated and stored" if is_new else "read"
            app.ui.note(f"the cluster token was {action}: {token.kept(path)}")
        loaded = reading.load(
            path, defaults=defaults, token=known_token, ask=asking(app) if asks else None,
            allowed=allowed, rollout=RolloutTokens(by_name=stored),
        )  # fmt: skip
        _tell_unregistered(app, loaded)
        return loaded
    missing: list[str] = []

    def note(purpose: str) -> str:
        missing.append(purpose)
        return masking.STARS

    known_token = token.placeholder() if generate_token else None
    tokens = RolloutTokens(by_name=stored, placeholder=rollout_tokens.new())
    loaded = reading.load(
        path, defaults=defaults, token=known_token, ask=note if asks else None, allowed=allowed,
        rollout=tokens,
    )  # fmt: skip
    for purpose in missing:
        app.ui.note(f"will be asked for: {purpose}")
    return loaded


def _tell_unregistered(app: App, fleet: Fleet) -> None:
    """Report the gateways that a fleet with tokens of the roll-out server has no token for."""
    if not rollout_tokens.kept(fleet.path).exists():
        return
    lacking = [one.name for one in fleet.gateways if one.settings.rollout is None]
    if lacking:
        shown = ", ".join(lacking[:10]) + (" …" if len(lacking) > 10 else "")
        app.ui.note(
            f"warning: {len(lacking)} gateways have no token for the roll-out server: {shown} "
            "(`edgeimg fleet register`)"
        )


def ledger(function: Command) -> Command:
    """Give a command --ledger; it receives the Ledger as `book`, after `fleet`."""

    @click.option(
        "--ledger",
        "where",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Ledger of the flashed disks.  [default: beside FILE, as FILE.ledger.jsonl]",
    )
    @functools.wraps(function)
    def wrapper(*args: object, where: Path | None, fleet: Fleet, **kwargs: object) -> object:
        book = Ledger(where or beside(fleet.path))
        return function(*args, fleet=fleet, book=book, **kwargs)

    return wrapper


def beside(path: Path) -> Path:
    """The ledger of a fleet file: `gateways.toml` has `gateways.ledger.jsonl`."""
    return path.with_suffix(".ledger.jsonl")


def tell_damage(app: App, book: Ledger, read: Read) -> None:
    """Report the damaged lines of a ledger."""
    if read.damaged:
        lines = ", ".join(map(str, read.damaged))
        app.ui.note(f"{book.path}: line {lines} is truncated or damaged and was skipped")


only = click.option(
    "--only", multiple=True, metavar="NAME", help="Only this gateway; may be repeated."
)


def _to_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, float]:
    try:
        return label.size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def style(function: Command) -> Command:
    """Give a command the looks of labels; it receives a Style as `style`."""

    @click.option(
        "--size",
        default="62x29",
        show_default=True,
        callback=_to_size,
        metavar="WxH",
        help="Of a label, in millimetres.",
    )
    @click.option(
        "--dpi",
        type=click.IntRange(150, 1200),
        default=printing.DPI,
        show_default=True,
        help="Of the printer.",
    )
    @click.option(
        "--url",
        help="Content of the QR code in place of the text; {name}, {mac}, {serial} and "
        "{disk_serial} are filled in.",
    )
    @functools.wraps(function)
    def wrapper(
        *args: object, size: tuple[float, float], dpi: int, url: str | None, **kwargs: object
    ) -> object:
        return function(*args, style=Style(size=size, dpi=dpi, url=url), **kwargs)

    return wrapper
