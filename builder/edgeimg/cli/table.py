"""Tables in the house style."""

from __future__ import annotations

from rich import box
from rich.table import Table


def new_table(*headers: str, title: str | None = None) -> Table:
    """An empty table in the house style."""
    table = Table(*headers, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.padding = (0, 2, 0, 0)
    table.title_style = "bold"
    return table
