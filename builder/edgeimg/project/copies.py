"""Projects that hold copies of edgeimg's own recipes and overlays, as `init` made them once."""

from __future__ import annotations

from pathlib import Path

from edgeimg import builtin
from edgeimg.project.doctor import Fact

_COPIED = (
    "overlays/base",
    "overlays/services",
    "overlays/updates",
    "recipes/services",
    "recipes/updates.toml",
)
_SHOWN = 10
"""Names of files in one message."""


def examine(project: Path) -> list[Fact]:
    """One finding for each built-in part that the project holds a copy of.

    Files differ when the project changed them, or when this edgeimg has a newer version.
    """
    return [fact for name in _COPIED if (fact := _compare(project / name, name)) is not None]


def _compare(copy: Path, name: str) -> Fact | None:
    original = builtin.directory(name)
    if not copy.exists() or copy.resolve() == original.resolve():  # a checkout of edgeimg
        return None
    ours = _files(original)
    theirs = _files(copy)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    differ = [path for path in common if ours[path].read_bytes() != theirs[path].read_bytes()]
    changed = ", ".join([*differ[:_SHOWN], *(["…"] if len(differ) > _SHOWN else [])])
    detail = f"these differ from edgeimg's: {changed}" if differ else "none differs from edgeimg's"
    return Fact(
        topic="copies",
        state="note",
        message=f"{copy} has {len(common)} files of edgeimg's, which no update reaches; {detail}",
        advice='include = ["edgeimg:gateway"] in place of the copied recipe; move files that you '
        "changed to overlays/mine, remove the others (edgeimg's documentation, Projects)",
    )


def _files(path: Path) -> dict[str, Path]:
    """All files of a part, by path below it; a single file is called by its own name."""
    if path.is_file():
        return {path.name: path}
    found = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return {str(file.relative_to(path)): file for file in found}
