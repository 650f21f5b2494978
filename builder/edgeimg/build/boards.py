"""The board of a recipe: its files in their places, and how QEMU runs it."""

from __future__ import annotations

from pathlib import Path

from edgeimg.arch import find_arch
from edgeimg.build import inputs
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.pack.boards import Loader
from edgeimg.recipe.file import RecipeFile
from edgeimg.ui import Ui
from edgeimg.vm.argv import BoardModel


def check(source: RecipeFile, *, store: Store, ui: Ui) -> Loader | None:
    """The files of the recipe's board in their places; None without a board.

    Raises RecipeError with all problems.
    """
    plan = _plan(source)
    if plan is None:
        return None
    with ui.step("get the board's packages"):
        return inputs.board_loader(plan, store, ui)


def model(source: RecipeFile, *, store: Store, ui: Ui) -> BoardModel | None:
    """How QEMU runs the recipe's board; None without one. Raises RecipeError without a model."""
    plan = _plan(source)
    return None if plan is None else inputs.board_model(plan, store, ui)


def _plan(source: RecipeFile) -> BuildPlan | None:
    """The plan of the board's architecture, which publishes nothing; None without a board."""
    board = source.recipe.board
    if board is None:
        return None
    return plan_build(source, find_arch(board.arch), BuildOptions(output=Path()))
