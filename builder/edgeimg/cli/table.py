"""Tables in the house style."""

from __future__ import annotations

from rich import box
from rich.table import Column, Table
from rich.text import Text


def new_table(*headers: str, title: str = "") -> Table:
    """An empty table in the house style. Headers and title are plain text, not markup."""
    heading = Text(title, style="bold") if title else None
    columns = [Column(Text(header)) for header in headers]
    table = Table(*columns, title=heading, box=box.SIMPLE_HEAD, pad_edge=False)
    table.title_justify = "left"
    table.padding = (0, 2, 0, 0)
    return table
