"""edgeimg lock, mirror, clean."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgeimg.arch import Arch, find_arch
from edgeimg.build import pipeline
from edgeimg.build.mirror import VARIABLES, images_of_engines, kernels_of_project, mirror_files
from edgeimg.cache import limit
from edgeimg.cli import options
from edgeimg.cli.app import App, with_app
from edgeimg.lock import file
from edgeimg.recipe.file import RecipeFile
from edgeimg.ui import human


def _archs(source: RecipeFile) -> tuple[Arch, ...]:
    """The architectures of the recipe; with --board, the one of the board."""
    board = source.recipe.board
    return (find_arch(board.arch),) if board and source.given_board else source.recipe.archs


@click.command(
    epilog="Examples: edgeimg lock --update systemd    edgeimg lock --check",
)
@options.board
@options.recipe
@click.option(
    "--update",
    "update",
    is_flag=False,
    flag_value="*",
    default=None,
    metavar="[NAME]",
    help="Take new versions: of everything, of one package, or of one image (by its service or "
    "reference).",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Only report whether the lock is current."
)
@click.option(
    "--accept-unsigned-index",
    "unsigned",
    multiple=True,
    metavar="ARCH",
    callback=options.to_archs,
    help="Go on although the package index of ARCH does not match its signature. Recorded in "
    "the lock, shown on every build, refused by release.",
)
@with_app
def lock(
    app: App,
    *,
    source: RecipeFile,
    update: str | None,
    only_check: bool,
    unsigned: tuple[Arch, ...],
) -> None:
    """Lock a recipe: every input with its size and sha256.

    `recipes/gateway.toml` is locked by `recipes/gateway.lock.toml`, for its architectures and
    the tools of the build host. Needs the network; building does not look anything up again.
    """
    if only_check:
        pipeline.check_lock(source)
        app.result({"current": True}, lambda c: c.print(f"{source.lock_path} is current"))
        return
    changes = pipeline.lock(
        source,
        archs=_archs(source),
        update=None if update is None else () if update == "*" else (update,),
        accept_unsigned=unsigned,
        store=app.store,
        ui=app.ui,
    )
    data = {"lock": str(source.lock_path), "changes": changes}
    lines = [*changes, f"{source.lock_path}: {len(changes)} change{'s' * (len(changes) != 1)}"]
    app.result(data, lambda c: c.print("\n".join(lines), highlight=False, markup=False))


@click.command(epilog="Example: edgeimg mirror /srv/mirror -r recipes/gateway.toml")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@options.recipe
@with_app
def mirror(app: App, *, directory: Path, source: RecipeFile) -> None:
    """Keep every input of a lock in DIRECTORY.

    For builds when the archives have moved on: packages of all images and tools, and K3s' files,
    fetched, or checked when they are there. Locks of several recipes and versions can share a
    directory; nothing is removed. Any web server can serve it.
    """
    locked = file.read_lock(source.lock_path)
    run = mirror_files(locked, directory, store=app.store, progress=app.ui)
    absent = images_of_engines(source.recipe, locked)
    for image in absent:
        app.ui.note(f"not kept, because an engine has it: {image}; use archive = FILE instead")
    kernels = kernels_of_project(locked)
    for kernel in kernels:
        app.ui.note(f"not kept, because the project has it: {kernel}")
    variables = {name: f"http://HOST/{part}" for name, part in VARIABLES.items()}
    data = {
        "directory": str(directory),
        "files": run.files,
        "bytes": run.size,
        "added": run.added,
        "images_not_kept": absent,
        "kernels_not_kept": kernels,
        "environment": variables,
    }
    lines = [
        f"{directory}: {run.files} files, {human(run.size)}, {len(run.added)} of them new",
        "serve it and build with:",
        *(f"  {name}={url}" for name, url in variables.items()),
    ]
    app.result(data, lambda c: c.print("\n".join(lines), highlight=False, markup=False))


@click.command(epilog="Example: edgeimg clean --all")
@click.option("--all", "everything", is_flag=True, help="Also downloads, and built images in out/.")
@options.output
@with_app
def clean(app: App, *, everything: bool, output: Path) -> None:
    """Empty the cache of results. Downloads stay unless --all is given."""
    parts = ["derived", "digests", "partial", *(["blobs"] if everything else [])]
    doomed = [app.store.root / part for part in parts]
    if everything:
        doomed += [path.parent for path in output.glob("*/*.manifest.json")]
    freed = sum(limit.usage(path) for path in doomed if path.exists())
    for path in doomed:
        shutil.rmtree(path, ignore_errors=True)
    removed = [str(path) for path in doomed]
    app.result({"removed": removed, "bytes": freed}, lambda c: c.print(f"freed {human(freed)}"))


COMMANDS: tuple[click.Command, ...] = (lock, mirror, clean)
