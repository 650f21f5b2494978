"""The jobs of a pipeline that builds many recipes: recipe × architecture × board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg.arch import find_arch
from edgeimg.build.plan import image_name
from edgeimg.errors import RecipeError
from edgeimg.recipe import file
from edgeimg.recipe.file import RecipeFile

LOCK = ".lock.toml"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to build: the options of `edgeimg build`, and the name of the image."""

    recipe: str
    """Path as the command line has it."""
    arch: str
    board: str
    """Value of `--board`; empty without it."""
    image: str

    def to_json(self) -> dict[str, str]:
        """An entry of GitHub's `include`."""
        return asdict(self)

    def variables(self) -> dict[str, str]:
        """An entry of GitLab's `parallel: matrix`."""
        return {name.upper(): value for name, value in asdict(self).items()}


def list_recipes(directory: Path) -> list[Path]:
    """The locked recipes in `directory`: those without a lock are parts of others.

    Raises RecipeError for a directory without a locked recipe.
    """
    found = [
        path
        for path in sorted(directory.glob("*.toml"))
        if not path.name.endswith(LOCK) and path.with_suffix(LOCK).is_file()
    ]
    if not found:
        raise RecipeError(
            f"there is no locked recipe in {directory}",
            hint="run `edgeimg lock`, or name the recipes: edgeimg matrix recipes/gateway.toml",
        )
    return found


def list_jobs(paths: Sequence[Path], boards: Sequence[str] = ()) -> list[Job]:
    """The jobs of the recipes at `paths`, each once.

    A recipe with a board has one job, any other one for each architecture. Each of `boards` adds a
    job to every recipe without a board that is for its architecture. Raises RecipeError, also when
    two jobs would make an image of the same name, and for a board that fits no recipe.
    """
    found: list[Job] = []
    unused = set(boards)
    for path in dict.fromkeys(paths):
        source = file.load(path)
        found += _of_recipe(source)
        for board in dict.fromkeys(boards) if source.recipe.board is None else ():
            for job in _of_recipe(file.load(path, board), board):
                found.append(job)
                unused.discard(board)
    if unused:
        raise RecipeError(
            f"no recipe is for the architecture of the board {min(unused)}",
            hint="add the architecture to [image] architectures of a recipe without a board",
        )
    names: dict[str, Job] = {}
    for job in found:
        if job.image in names:
            raise RecipeError(
                f"{names[job.image].recipe} and {job.recipe} both make {job.image}",
                hint="give them different [image] ids",
            )
        names[job.image] = job
    return found


def _of_recipe(source: RecipeFile, board: str = "") -> list[Job]:
    recipe = source.recipe
    archs = recipe.archs
    if recipe.board is not None:
        archs = tuple(arch for arch in archs if arch == find_arch(recipe.board.arch))
    return [
        Job(
            recipe=str(source.path),
            arch=arch.name,
            board=board,
            image=image_name(recipe.for_arch(arch), arch),
        )
        for arch in archs
    ]
