"""The recipes, overlays and sources that come with edgeimg, in a checkout and in an installation.

They are package data in `data/`. In a checkout its entries are symbolic links to the directories
of the same names; a wheel holds the files. The stand-in is in checkouts only.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def directory(name: str = "") -> Path:
    """The directory of built-in parts, or one below it: `recipes`, `overlays`, `standin`.

    It need not exist: `standin` does not in an installation.
    """
    data = Path(str(files("edgeimg"))) / "data"
    return data / name if name else data
