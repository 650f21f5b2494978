"""Options that several commands share: the recipe, architectures, how something is built."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from edgeimg import builtin
from edgeimg.arch import ALIASES, ARCHITECTURES, Arch, find_arch
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.cli.app import Command
from edgeimg.errors import RecipeError
from edgeimg.recipe import file
from edgeimg.recipe.file import RecipeFile

DEFAULT_RECIPE = Path("recipes/gateway.toml")


def releases(function: Command) -> Command:
    """Give a command --releases; it receives a Path as `releases`."""
    return click.option(
        "--releases",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("out/release"),
        show_default=True,
        help="Where releases are, each in a directory named after its version.",
    )(function)


def recipe(function: Command) -> Command:
    """Give a command --recipe; it receives the loaded RecipeFile as `source`."""

    @click.option(
        "-r",
        "--recipe",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The recipe.  [default: recipes/gateway.toml]",
    )
    @functools.wraps(function)
    def wrapper(
        *args: object,
        path: Path | None,
        board: str | None = None,
        archs: tuple[Arch, ...] | None = None,
        **kwargs: object,
    ) -> object:
        source = load_recipe(path, board)
        if archs is not None:
            kwargs["archs"] = _of_recipe(source, archs)
        return function(*args, source=source, **kwargs)

    return wrapper


board = click.option(
    "--board",
    metavar="NAME|FILE",
    help="Make the image for a board without UEFI: one of edgeimg's, or a file of one's own.",
)
"""Above `recipe`, which reads it."""


def _of_recipe(source: RecipeFile, archs: tuple[Arch, ...]) -> tuple[Arch, ...]:
    """The architectures of the command line; for `all`, those of the recipe."""
    allowed, board = source.recipe.archs, source.recipe.board
    if board is not None:
        allowed = (find_arch(board.arch),)
        origin = click.get_current_context().get_parameter_source("archs")
        if origin is not ParameterSource.COMMANDLINE:
            return allowed
    if set(archs) == set(ARCHITECTURES):
        return allowed
    for arch in archs:
        if arch not in allowed:
            raise RecipeError(
                f"{source.path} is not for {arch.name}, but for "
                f"{', '.join(item.name for item in allowed)}",
                hint="add it to [image] architectures",
            )
    return archs


def load_recipe(path: Path | None, board: str | None = None) -> RecipeFile:
    """The recipe at `path`; by default that of the current directory, else edgeimg's own."""
    if path is None:
        path = DEFAULT_RECIPE if DEFAULT_RECIPE.exists() else builtin.directory(str(DEFAULT_RECIPE))
    return file.load(path, board)


def to_archs(ctx: click.Context, param: click.Parameter, names: Sequence[str]) -> tuple[Arch, ...]:
    """Architectures from their names, aliases and `all`; raises BadParameter."""
    archs: list[Arch] = []
    for name in names:
        if name == "all":
            archs.extend(ARCHITECTURES)
            continue
        try:
            archs.append(find_arch(name))
        except KeyError:
            choices = ", ".join([*(a.name for a in ARCHITECTURES), "all"])
            raise click.BadParameter(f"{name!r} is not one of {choices}", ctx, param) from None
    return tuple(dict.fromkeys(archs))


def _complete_arch(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    del ctx, param
    names = [*(a.name for a in ARCHITECTURES), "all"]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def arch(help: str) -> Callable[[Command], Command]:
    """Give a command --arch, once; it receives an Arch or None as `arch`."""

    def convert(ctx: click.Context, param: click.Parameter, name: str | None) -> Arch | None:
        return None if name is None else to_archs(ctx, param, (name,))[0]

    return click.option(
        "-a", "--arch", callback=convert, shell_complete=_complete_arch, metavar="ARCH", help=help
    )


def archs(*, default: str | None = None) -> Callable[[Command], Command]:
    """Give a command --arch (repeatable); it receives a tuple of Arch as `archs`."""
    return click.option(
        "-a",
        "--arch",
        "archs",
        multiple=True,
        default=(default or host_arch(),),
        callback=to_archs,
        shell_complete=_complete_arch,
        metavar="ARCH",
        help="x86-64, arm64, arm (or any common alias) or all; may be repeated.  "
        f"[default: {default or 'this machine'}]",
    )


def host_arch() -> str:
    """The architecture of this computer; x86-64 if edgeimg has no images for it."""
    import platform

    machine = platform.machine().lower()
    return ALIASES[machine].name if machine in ALIASES else "x86-64"


def _to_k3s(ctx: click.Context, param: click.Parameter, value: str | None) -> K3sChoice | None:
    if value is None:
        return None
    if value == "release":
        return K3sChoice(source="release")
    if value == "standin":
        return K3sChoice(source="standin")
    if not Path(value).is_file():
        raise click.BadParameter(
            f"{value!r} is neither 'release', 'standin' nor a K3s binary's path", ctx, param
        )
    return K3sChoice(source="file", path=Path(value).resolve())


output = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Directory of finished images.",
)


k3s = click.option(
    "--k3s",
    callback=_to_k3s,
    metavar="release|standin|PATH",
    help="Use this K3s instead of the recipe's: the official release, the stand-in of "
    "builder/standin (not K3s: for tests where the release cannot be fetched), or a binary.",
)
offline = click.option("--offline", is_flag=True, help="Never touch the network.")


def build(function: Command) -> Command:
    """Give a command the options of a build; it receives BuildOptions as `build_options`."""

    @k3s
    @output
    @offline
    @functools.wraps(function)
    def wrapper(
        *args: object, k3s: K3sChoice | None, output: Path, offline: bool, **kwargs: object
    ) -> object:
        build_options = BuildOptions(output=output, k3s=k3s, offline=offline)
        return function(*args, build_options=build_options, **kwargs)

    return wrapper
