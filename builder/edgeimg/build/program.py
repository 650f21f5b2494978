"""edgeimg itself as files of a root: the Python package that is running, for the installer."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path, PurePosixPath

from edgeimg import builtin
from edgeimg.tree import Node, Tree
from edgeimg.tree.overlay import from_directory

_PLACE = "usr/lib/python3/dist-packages/edgeimg"
"""Where Debian's Python finds packages."""
_ORIGIN = "edgeimg"
_DATA = "data"
_RECIPE = "gateway.toml"
"""What `edgeimg install` asks for the consents of an image that does not say them itself."""


def tree() -> Tree:
    """The package without what Python compiled, and of the built-in parts the default recipe.

    A checkout and an installation give equal trees. Raises ArchiveError.
    """
    package = from_directory(Path(str(files("edgeimg"))), origin=_ORIGIN).without(_is_left_out)
    recipe = from_directory(builtin.directory("recipes"), origin=_ORIGIN)[_RECIPE]
    nodes = {**dict(package.items()), f"{_DATA}/recipes/{_RECIPE}": recipe}
    return Tree().with_nodes({f"{_PLACE}/{path}": node for path, node in nodes.items()})


def _is_left_out(path: str, _: Node) -> bool:
    parts = PurePosixPath(path).parts
    return "__pycache__" in parts or parts[0] == _DATA
