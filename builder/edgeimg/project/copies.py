"""Projects that hold copies of edgeimg's own recipes and overlays, as `init` made them once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from edgeimg import builtin
from edgeimg.cache.store import sha256_file
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
_DIGITS = 16
"""Of a SHA-256 in copied.txt."""


def examine(project: Path) -> list[Fact]:
    """One finding for each built-in part that the project holds a copy of.

    A file was changed by hand if it is neither that of this edgeimg nor the one that `init` of
    version 0.1 copied.
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
    prefix = f"{name}/" if copy.is_dir() else name.removesuffix(copy.name)
    copied = _copied()
    by_hand = [
        path for path in differ if copied.get(prefix + path) != sha256_file(theirs[path])[:_DIGITS]
    ]
    shown = ", ".join([*by_hand[:_SHOWN], *(["…"] if len(by_hand) > _SHOWN else [])])
    detail = f"changed by hand: {shown}" if by_hand else "none was changed by hand"
    if older := len(differ) - len(by_hand):
        detail = f"{older} of them are older than this edgeimg's; {detail}"
    return Fact(
        topic="copies",
        state="note",
        message=f"{copy} has {len(common)} files of edgeimg's, which no update reaches: {detail}",
        advice='include = ["edgeimg:gateway"] in place of the copied recipe; move files that you '
        "changed to overlays/mine, remove the others (edgeimg's documentation, Projects)",
    )


def _copied() -> dict[str, str]:
    """Path of each file that `init` of version 0.1 copied → the beginning of its SHA-256."""
    text = files("edgeimg.project").joinpath("copied.txt").read_text(encoding="utf-8")
    rows = (line.split(maxsplit=1) for line in text.splitlines() if not line.startswith("#"))
    return {path: digest for digest, path in rows}


def _files(path: Path) -> dict[str, Path]:
    """All files of a part, by path below it; a single file is called by its own name."""
    if path.is_file():
        return {path.name: path}
    found = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return {str(file.relative_to(path)): file for file in found}
