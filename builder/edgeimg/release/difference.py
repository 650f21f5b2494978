"""Two directories that should hold the same release: the first file that differs, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from edgeimg.errors import ImageError
from edgeimg.inspect import diff
from edgeimg.release import sums
from edgeimg.release.layout import EVIDENCE
from edgeimg.text import json_text

_BLOCK = 1 << 20
_MANIFEST = ".manifest.json"
_SECTIONS = ("files", "k3s", "packages", "components", "kernel_config", "image", "sizes")
"""The differences of a manifest, important ones first."""
_MOST = 8


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a rebuilt release differs."""

    file: str
    """The first differing file, by name."""
    what: str
    """`missing`, `new`, or the place in the file."""
    files: tuple[str, ...]
    """All files that differ."""
    changes: tuple[str, ...] = ()
    """Changes in the images according to their manifests; empty when those are equal."""

    def __str__(self) -> str:
        more = len(self.files) - 1
        more_files = f", and {more} more" if more else ""
        lines = [*self.changes[:_MOST], *(["…"] if len(self.changes) > _MOST else [])]
        return "\n  ".join([f"the first file that differs is {self.file}: {self.what}{more_files}",
                            *lines])  # fmt: skip

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return asdict(self)


def compare(ours: Path, theirs: Path) -> Difference | None:
    """The difference between a release made again, `ours`, and the one in `theirs`; None if none.

    Signatures and evidence aside: no two runs have the same.
    """
    mine, their_files = _files(ours), _files(theirs)
    differing = {}
    for name in sorted(mine.keys() | their_files.keys()):
        if name not in mine:
            differing[name] = "it is not in the release that was built again"
        elif name not in their_files:
            differing[name] = "it is new in the release that was built again"
        elif (at := _first(mine[name], their_files[name])) is not None:
            differing[name] = f"byte {at}"
    # The list of digests differs whenever anything does.
    names = [name for name in differing if name != sums.NAME] or list(differing)
    if not names:
        return None
    return Difference(
        file=names[0],
        what=differing[names[0]],
        files=tuple(names),
        changes=tuple(
            change
            for name in names
            if name.endswith(_MANIFEST) and name in mine and name in their_files
            for change in _changes(their_files[name], mine[name])
        ),
    )


def _files(directory: Path) -> dict[str, Path]:
    return {
        path.name: path
        for path in directory.iterdir()
        if path.name != EVIDENCE and path.suffix != ".gpg"
    }


def _first(left: Path, right: Path) -> int | None:
    """Offset of the first byte that differs."""
    at = 0
    for mine, theirs in zip_longest(_blocks(left), _blocks(right), fillvalue=b""):
        if mine != theirs:
            pairs = enumerate(zip(mine, theirs, strict=False))
            shorter = min(len(mine), len(theirs))
            return at + next((index for index, (a, b) in pairs if a != b), shorter)
        at += len(mine)
    return None


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _changes(before: Path, after: Path) -> Iterator[str]:
    """The changes of one image, one line each."""
    try:
        difference = diff.compare(diff.read_manifest(before), diff.read_manifest(after))
    except ImageError:
        return
    for section in _SECTIONS:
        for change in difference.sections.get(section, ()):
            if change.before == change.after:
                description = "other bytes"
            elif change.before is None:
                description = "came"
            elif change.after is None:
                description = "went"
            else:
                description = f"{change.before} → {change.after}"
            yield f"{difference.new}: {section}: {change.name}: {description}"
    if not difference.sections:
        old, new = (json_text.read(path) for path in (before, after))
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        yield f"{difference.new}: {', '.join(keys)}"
