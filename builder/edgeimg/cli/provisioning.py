"""edgeimg provision: from one image to one gateway's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg.build import pipeline
from edgeimg.cli import options, signing_options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.signing_options import public_key
from edgeimg.cli.streams import say
from edgeimg.errors import HostError, ImageError, ProvisionError
from edgeimg.image.manifest import ProvisionFacts
from edgeimg.provision import advice, consents, masking, nocloud, reading, rendering, target
from edgeimg.provision.reading import Ask
from edgeimg.provision.settings import Settings, settings_schema
from edgeimg.provision.signing import Signing, signed
from edgeimg.provision.target import Target
from edgeimg.recipe.file import RecipeFile
from edgeimg.tools import Toolbox

EXAMPLE = Path(str(files("edgeimg.provision"))) / "example.toml"


@click.command(
    epilog="Examples: edgeimg provision --example > box-1.toml    "
    "edgeimg provision /dev/sdb box-1.toml    "
    "edgeimg provision gateway_1.2.0_arm64.raw.zst box-1.toml --output boxes/box-1.raw.zst"
)
@click.argument("paths", metavar="[TARGET] [SETTINGS]...", nargs=-1,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Leave the image as it is, and write a provisioned copy: .raw or .raw.zst.",
)
@click.option("--check", is_flag=True, help="Check SETTINGS and write nothing; no TARGET is named.")
@click.option("--show", is_flag=True, help="Print the files instead, with stars for secrets.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a disk is written to, or a directory where nothing is mounted.",
)
@signing_options.signing
@click.option(
    "--was",
    metavar="NAME",
    help="The gateway has this name by now, and gets another one by signed SETTINGS.",
)
@click.option("--example", is_flag=True, help="Print commented settings to start from, only.")
@click.option("--schema", "only_schema", is_flag=True, help="Print the JSON Schema only.")
@options.recipe
@with_app
def provision(
    app: App,
    *,
    paths: tuple[Path, ...],
    output: Path | None,
    check: bool,
    show: bool,
    yes: bool,
    signing: Signing | None,
    was: str | None,
    example: bool,
    only_schema: bool,
    source: RecipeFile,
) -> None:
    """Write one gateway's SETTINGS to its card, or an image.

    TARGET is an image, a disk (the gateway's card in a reader), or the directory where its
    partition CONFIG is mounted. SETTINGS is a TOML file, or NoCloud's meta-data, user-data and
    network-config, or a directory with those. The gateway takes them over when it starts. Secrets
    come from files or from a question at the terminal.
    """
    if example:
        click.echo(EXAMPLE.read_text(), nl=False)
    elif only_schema:
        click.echo(json.dumps(settings_schema(), indent=2))
    elif check or show:
        allowed = source.recipe.provision.allowed
        _look(app, _settings(paths, app, secrets=False, allowed=allowed), show=show)
    elif len(paths) < 2:
        raise click.UsageError("expected TARGET and SETTINGS; --help has examples")
    else:
        if was and signing is None:
            raise click.UsageError("--was is for signed settings: add --sign KEY")
        signer = signing and replace(signing, was=was, expected=public_key(source))
        _write(app, paths[0], paths[1:], output, yes=yes, recipe=source, signing=signer)


def _write(
    app: App, path: Path, named: tuple[Path, ...], output: Path | None, *, yes: bool,
    recipe: RecipeFile, signing: Signing | None,
) -> None:  # fmt: skip
    destination = target.choose(path, output)
    tools = None
    if destination.kind != "folder":
        tools = pipeline.pack_tools(recipe, store=app.store, ui=app.ui)
    takes = _takes(app, destination, tools, recipe)
    signing_options.require(signing, signed=takes.signed, title=destination.title)
    settings = _settings(named, app, secrets=True, allowed=takes.allow)
    consents.require_parts(takes, settings, destination.title)
    files = rendering.files(settings)
    if signing is not None:
        files = signed(files, signing)
    if not yes and (destination.disk is not None or destination.is_unmounted):
        _confirm(app, destination, settings)
    elif destination.is_unmounted:
        app.ui.note(f"nothing is mounted on {destination.path}: the files stay on this computer")
    with app.ui.step(f"provision {destination.title}"):
        target.write(destination, files, toolbox=tools, progress=app.ui)
    result = {
        "target": str(destination.output or destination.path),
        "kind": destination.kind,
        **_facts(files),
    }

    def shown(console: Console) -> None:
        console.print(_listing(files))
        hint = "next: start the gateway; `edgeimg-status` on it reports problems"
        console.print(hint, highlight=False, soft_wrap=True)

    app.result(result, shown)


def _look(app: App, settings: Settings, *, show: bool) -> None:
    """Show the files that would be written, without their secrets."""
    files = rendering.files(masking.masked(settings))
    result = _facts(files)
    if show:
        result["content"] = {path: content.decode() for path, content in files.items()}

    def shown(console: Console) -> None:
        if not show:
            console.print(_listing(files))
            console.print("the settings are valid", highlight=False)
        for path, content in files.items() if show else ():
            console.print(Text(f"== {path}", style="bold"))
            console.print(Text(content.decode()), soft_wrap=True)

    app.result(result, shown)


def _takes(
    app: App, destination: Target, tools: Toolbox | None, recipe: RecipeFile
) -> ProvisionFacts:
    """The provisioning that the target's image allows. If it cannot be read, that of the recipe."""
    policy = recipe.recipe.provision
    by_recipe = ProvisionFacts(
        allow=policy.allowed,
        signed=policy.key is not None,
        k3s=not recipe.recipe.k3s.is_absent,
    )
    if destination.kind == "folder" or tools is None:
        return by_recipe
    if destination.path.suffix == ".zst":
        return consents.beside(destination.path) or by_recipe
    try:
        return consents.of_disk(destination.path, toolbox=tools)
    except ImageError as error:
        app.ui.note(f"{error.message}: the settings are checked with the recipe's [provision]")
        return by_recipe


def _settings(
    paths: tuple[Path, ...], app: App, *, secrets: bool, allowed: tuple[str, ...]
) -> Settings:
    """The settings in a TOML file or in NoCloud files. Without `secrets` there are no questions."""
    if not paths:
        raise click.UsageError("expected SETTINGS: a TOML file, or NoCloud's; --help has examples")
    settings = _read(paths, app, asking(app) if secrets else _stars, allowed)
    for warning in advice.warnings(settings):
        app.ui.note(f"warning: {warning}")
    return settings


def _read(paths: tuple[Path, ...], app: App, ask: Ask | None, allowed: tuple[str, ...]) -> Settings:
    if len(paths) == 1 and paths[0].is_dir():
        return nocloud.load(nocloud.find(paths[0]), ask, app.ui.note)
    if all(path.name in nocloud.NAMES for path in paths):
        return nocloud.load(paths, ask, app.ui.note)
    if len(paths) > 1:
        raise ProvisionError(
            "expected one file of settings",
            hint=f"several are for NoCloud: {', '.join(nocloud.NAMES)}",
        )
    return reading.load(paths[0], ask, allowed=allowed)


def _stars(purpose: str) -> str:
    # Valid for every kind of secret but a PIN, for which there is no question.
    del purpose
    return masking.STARS


def asking(app: App) -> Ask | None:
    """Asks for secrets at the terminal; None without a terminal."""
    if not sys.stdin.isatty():
        return None

    def ask(purpose: str) -> str:
        with app.ui.aside():
            answer: str = click.prompt(f"The {purpose}", hide_input=True, err=True)
        return answer

    return ask


def _confirm(app: App, destination: Target, settings: Settings) -> None:
    """Show which disk or directory it is; raises HostError where nobody can answer."""
    doubt = f"nothing is mounted on {destination.path}" if destination.is_unmounted else ""
    if not sys.stdin.isatty():
        reason = " and ".join(filter(None, [doubt, "there is no terminal to ask on"]))
        raise HostError(reason, hint="add --yes to confirm")
    name = settings.hostname or "a gateway without a new name"
    with app.ui.aside():
        say(f"The settings of {name} go to {destination.title}.")
        if doubt:
            say(f"But {doubt}: they would stay on this computer.")
        click.confirm("Write?", abort=True, err=True)


def _facts(files: Mapping[str, bytes]) -> dict[str, object]:
    return {
        "files": [
            {"path": path, "bytes": len(content), "secret": _is_secret(path)}
            for path, content in files.items()
        ]
    }


def _listing(files: Mapping[str, bytes]) -> Text:
    lines = (f"  {path}{' (secret)' if _is_secret(path) else ''}" for path in files)
    return Text("\n".join(lines) or "  no files: the settings are empty")


def _is_secret(path: str) -> bool:
    return path.removeprefix(f"{rendering.DIRECTORY}/") in rendering.SECRET


COMMANDS: tuple[click.Command, ...] = (provision,)
