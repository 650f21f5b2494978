"""Differences from the previous release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeimg.inspect.diff import Change, compare
from edgeimg.report.facts import ImageFacts
from edgeimg.report.text import growth, human, percent

_SIZES = {
    "root": "Root, compressed",
    "uki": "Kernel (UKI)",
    "initrd": "Initrd",
}
_MOST_FILES = 12


@dataclass(frozen=True, kw_only=True)
class Step:
    """A component whose size changed."""

    name: str
    after: str
    change: str
    share: float
    """Percent of the largest change on the list."""
    more: bool
    """It grew."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One image against its predecessor."""

    arch: str
    old: str
    total: str
    """Change of the root's content."""
    parts: tuple[Step, ...]
    components: tuple[Step, ...]
    files: tuple[Step, ...]
    versions: tuple[tuple[str, str, str], ...]
    """Name, before, after; empty where it is missing."""
    kernel_options: int
    """How many are different."""


def grown(image: ImageFacts) -> Growth | None:
    """The differences; None without a previous release."""
    if image.previous is None:
        return None
    diff = compare(image.previous, image.manifest)
    components = diff.sections.get("components", ())
    files = diff.sections.get("files", ())
    versions = [*_versions(diff.sections.get("image", ()), ("kernel",))]
    versions += [*_versions(diff.sections.get("k3s", ()), ("version",), "K3s")]
    versions += [*_versions(diff.sections.get("packages", ()))]
    parts = [change for change in diff.sections.get("sizes", ()) if change.name in _SIZES]
    return Growth(
        arch=image.arch,
        old=image.previous.contents.version,
        total=growth(sum(change.growth for change in components)),
        parts=_steps(parts, len(parts), _SIZES),
        components=_steps(components, len(components)),
        files=_steps(files, _MOST_FILES),
        versions=tuple(versions),
        kernel_options=len(diff.sections.get("kernel_config", ())),
    )


def _steps(
    changes: Iterable[Change], most: int, names: dict[str, str] | None = None
) -> tuple[Step, ...]:
    ranked = sorted(
        (change for change in changes if change.growth),
        key=lambda change: (-abs(change.growth), change.name),
    )[:most]
    largest = abs(ranked[0].growth) if ranked else 0
    return tuple(
        Step(
            name=(names or {}).get(change.name, change.name.removeprefix("package:")),
            after=human(int(change.after)) if change.after is not None else "gone",
            change=growth(change.growth),
            share=percent(abs(change.growth), largest),
            more=change.growth > 0,
        )
        for change in ranked
    )


def _versions(
    changes: Iterable[Change], only: tuple[str, ...] = (), name: str = ""
) -> Iterable[tuple[str, str, str]]:
    for change in changes:
        if not only or change.name in only:
            before = "" if change.before is None else str(change.before)
            after = "" if change.after is None else str(change.after)
            yield name or change.name, before, after
