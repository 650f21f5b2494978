"""Boards that were seen on hardware: the rows of board_reports.toml."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

from pydantic import Field

from edgeimg.recipe.board import BoardName
from edgeimg.text.validation import Table

ROWS = Path(__file__).with_name("board_reports.toml")


class BoardReport(Table):
    """What somebody has seen of a board."""

    board: BoardName
    hardware: str = Field(max_length=200)
    edgeimg: str
    kernel: str
    date: date
    by: str = Field(max_length=100)
    works: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.hardware}: edgeimg {self.edgeimg}, Linux {self.kernel}, {self.date}"]
        parts += [f"works: {', '.join(self.works)}"] if self.works else []
        parts += [f"fails: {', '.join(self.fails)}"] if self.fails else []
        return "; ".join([*parts, f"seen by {self.by}"])


def read(path: Path = ROWS) -> tuple[BoardReport, ...]:
    """All reports, in the order of the file."""
    rows = tomllib.loads(path.read_text())["report"]
    return tuple(BoardReport.model_validate(row) for row in rows)
