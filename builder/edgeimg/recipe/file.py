"""Reading a recipe file: every error of it in one run, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edgeimg import builtin
from edgeimg.errors import RecipeError
from edgeimg.recipe.board import Board
from edgeimg.recipe.include import Document, read
from edgeimg.recipe.model import Recipe
from edgeimg.text import validation
from edgeimg.text.toml_text import Location, Place


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe and where it came from; overlay paths are relative to `project`."""

    path: Path
    project: Path
    recipe: Recipe
    files: tuple[Path, ...] = ()
    """The recipes that it includes, and itself."""
    place: Callable[[Location], Place] = field(default=lambda _: Place(path=Path(), line=1))
    """Where a key of the recipe, or the table around it, is written."""
    given_board: bool = False
    """The board is not the recipe's, but one of the command line."""
    given_kernel: bool = False
    """A vendor's kernel comes with that board."""

    @property
    def lock_path(self) -> Path:
        """`recipes/gateway.toml` is locked by `recipes/gateway.lock.toml`.

        For a board of `--board` with packages or a kernel of its own, by
        `gateway.BOARD.lock.toml`.
        """
        board = self.recipe.board
        if self.given_board and board and (board.packages or self.given_kernel):
            return self.path.with_suffix(f".{board.name}.lock.toml")
        return self.path.with_suffix(".lock.toml")

    def name_of(self, path: Path) -> str:
        """A file by its path in the project; a built-in one as recipes name it; any other by its
        own name.
        """
        real = path.resolve()
        home = self.project.resolve()
        if real.is_relative_to(home):
            return str(real.relative_to(home))
        return builtin.PREFIX + builtin.name_of(path) if builtin.contains(path) else path.name

    def locate(self, name: str) -> Path:
        """Where something is that the recipe names. Raises RecipeError for unknown built-ins."""
        return builtin.locate(name, self.project)

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of edgeimg's own, read where edgeimg is installed."""
        return builtin.contains(self.path)


def load(path: Path, board: str | None = None) -> RecipeFile:
    """Read and validate a recipe, with the overrides of every architecture.

    `board` is the name of a built-in board, or a board's file.

    Raises RecipeError with one line per error: `file:line: key: what was expected`.
    """
    document = _read(path, board)
    try:
        recipe = Recipe.model_validate(document.data)
        for arch in recipe.archs:
            recipe.for_arch(arch)
    except ValidationError as error:
        problems = validation.problems(error, Recipe, document.place)
        raise RecipeError(
            validation.listing(path, problems),
            hint="`edgeimg init --schema` prints the schema; README.md explains each table",
        ) from None
    folder = path.resolve().parent
    project = folder.parent if folder.name == "recipes" else folder
    return RecipeFile(
        path=path,
        project=project,
        recipe=recipe,
        files=document.files,
        place=document.place,
        given_board=board is not None,
        given_kernel=board is not None and _kernels(document.data) != _kernels(read(path).data),
    )


def _kernels(data: Mapping[str, object]) -> list[tuple[object, ...]]:
    """The vendors' kernels that a recipe names: of all architectures, and of single ones."""
    tables, arches = [data.get("kernel")], data.get("arch")
    if isinstance(arches, dict):
        tables += [one.get("kernel") for _, one in sorted(arches.items())]
    return [(table.get("deb"), table.get("files")) for table in tables if isinstance(table, dict)]


def _read(path: Path, base: str | None) -> Document:
    """The recipe with its board: that of the command line, or the one that [board] names."""
    document = read(path)
    table = document.data.get("board")
    if base is None:
        name = table.get("name") if isinstance(table, dict) and "arch" not in table else None
        return read(path, first=(_built_in(name),)) if isinstance(name, str) else document
    if table is not None:
        raise RecipeError(f"{document.place(('board',))}: board: the recipe has a board already")
    is_file = base.endswith(".toml")
    return read(path, first=(str(Path(base).resolve()) if is_file else _built_in(base),))


def _built_in(name: str) -> str:
    known = boards()
    if name in known:
        return f"{builtin.PREFIX}boards/{name}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    raise RecipeError(
        f"edgeimg has no board {name!r}",
        hint=f"did you mean {near[0]!r}?"
        if near
        else f"known: {', '.join(known)}; a board of one's own is a file that ends with .toml, "
        "or a [board] with all its keys",
    )


def shipped_boards() -> dict[str, Board]:
    """The boards that come with edgeimg, by name."""
    tables = {name: read(builtin.find(f"boards/{name}")).data for name in boards()}
    return {name: Board.model_validate(data["board"]) for name, data in tables.items()}


def boards() -> list[str]:
    """The names of the boards that come with edgeimg."""
    start = "boards/"
    return [name.removeprefix(start) for name in builtin.names() if name.startswith(start)]
