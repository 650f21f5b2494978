"""Packages of other suites and components, as apt_preferences(5).

Only packages that are pinned may come from a suite that is not the base suite, and only packages
of a component that is asked for are seen at all. The rest is as if the suite and the component
did not exist.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from edgeimg.errors import LockError
from edgeimg.lock.model import Package
from edgeimg.sources.apt import Outcome, Repository, Runner

MAIN = "main"
_PREFERRED = 990
_NEVER = -1
_UNMET = re.compile(
    r"^ *(?P<name>\S+) : (?:Pre-)?Depends: (?P<needs>.+?)"
    r" but (?:(?P<found>\S+) is to be installed|it is not (?:going to be installed|installable))",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Suites and components of one resolution besides `main` of the base suite."""

    suites: Mapping[str, str] = field(default_factory=dict)
    """Suite by package name; names may be globs, such as `linux-image-*`."""
    components: tuple[str, ...] = ()
    """Components besides `main`: `contrib`, `non-free`, `non-free-firmware`."""

    def suite(self, name: str) -> str:
        """The suite of a package, an exact name before globs; empty for the base suite."""
        if name in self.suites:
            return self.suites[name]
        globs = sorted(self.suites.items())
        return next((suite for glob, suite in globs if fnmatchcase(name, glob)), "")

    def with_(self, suites: Mapping[str, str], components: Iterable[str]) -> Pins:
        """With more of both; where both name a package, its suite in `suites` counts."""
        return Pins(
            suites={**self.suites, **suites},
            components=tuple(sorted({*self.components, *components} - {MAIN})),
        )


def preferences(pins: Pins, codenames: Mapping[str, str], components: Collection[str]) -> str:
    """The text of apt's preferences for one resolution; empty without pins and components.

    `codenames` has the code name of every suite of the index besides the base suite,
    `components` the components of the index.
    """
    exact_first = sorted(pins.suites.items(), key=lambda item: ("*" in item[0], item[0]))
    entries = [(name, f"release n={codenames[suite]}", _PREFERRED) for name, suite in exact_first]
    # apt takes the first entry that fits a version, so a pinned package comes from its suite only.
    entries += [(name, "version *", _NEVER) for name, _ in exact_first if not _is_glob(name)]
    unseen = [c for c in sorted(components) if c not in (MAIN, *pins.components)]
    entries += [("*", f"release c={component}", _NEVER) for component in unseen]
    entries += [("*", f"release n={name}", _NEVER) for name in sorted(set(codenames.values()))]
    return "\n".join(
        f"Package: {name}\nPin: {pin}\nPin-Priority: {priority}\n"
        for name, pin, priority in entries
    )


def codenames(
    root: Path, base_suites: Mapping[str, Sequence[str]], suites: Iterable[str]
) -> dict[str, str]:
    """The code name of each suite, from its signed Release file that apt has below `root`.

    `own` has the base suite and its updates, by archive. Raises LockError when one of these is
    among `suites`, under this name or another: `testing` is the base suite at times.
    """
    names = {suite: _codename(root, suite) for suite in sorted(suites)}
    base = {
        _codename(root, suite): suite for group in base_suites.values() for suite in group if names
    }
    for suite, name in names.items():
        if name in base:
            raise LockError(
                f"packages are pinned to {suite}, which the recipe takes packages from anyway "
                f"({base[name]})",
                hint="remove the pin, or change packages.suite",
            )
    return names


def origins(
    packages: Sequence[Package],
    pins: Pins,
    repositories: Sequence[Repository],
    run: Runner,
    root: Path,
) -> tuple[Package, ...]:
    """The packages, each with the suite that it is pinned to when it is of that suite."""
    pinned = {package.name for package in packages if pins.suite(package.name)}
    if not pinned:
        return tuple(packages)
    # name | version | base URL suite/component architecture Packages
    available = set()
    for line in run(["apt-cache", "madison", "--", *sorted(pinned)], root).out.splitlines():
        name, version, source = (part.strip() for part in line.split("|"))
        base, place, *_ = source.split()
        if any(base.rstrip("/") == r.base for r in repositories):
            available.add((name, version, place.rpartition("/")[0]))
    return tuple(
        replace(package, suite=suite)
        if (package.name, package.version, suite := pins.suite(package.name)) in available
        else package
        for package in packages
    )


def unavailable(outcome: Outcome, pins: Pins, base: str, arch: str) -> LockError | None:
    """The error for a package that its suite lacks, or whose dependencies the base suite lacks.

    None when apt's answer is about something else.
    """
    text = f"{outcome.out}\n{outcome.err}"
    unmet = [match.groupdict() for match in _UNMET.finditer(text)]
    missing = re.findall(r"Package '?(\S+?)'? has no installation candidate", text)
    missing += [_first(match["needs"]) for match in unmet if not match["found"]]
    for name in missing:
        if suite := pins.suite(name):
            return LockError(
                f"there is no package {name} for {arch} in {suite}, which it is pinned to",
                hint="correct packages.pin in the recipe; a package of another component needs "
                "packages.components, too",
            )
    for match in unmet:
        name, needs = _first(match["name"]), match["needs"]
        if suite := pins.suite(name):
            has = f"{base} has {match['found']}" if match["found"] else f"{base} has none that fits"
            return LockError(
                f"{name} of {suite} needs {needs}, and {has} for {arch}",
                hint=f'pin that as well: packages.pin.{_first(needs)} = "{suite}"; or pin {name} '
                f"to a suite that is built for {base}, such as {base}-backports",
            )
    return None


def _codename(root: Path, suite: str) -> str:
    """Of the suite's InRelease file; a local copy without one has no other suite beside it."""
    for path in sorted((root / "state/lists").glob(f"*_dists_{suite}_*Release")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^Codename: (\S+)$", text, re.MULTILINE):
            return match[1]
    raise LockError(
        f"the Release file of {suite} names no suite",
        hint="name another mirror with EDGEIMG_MIRROR",
    )


def _first(relation: str) -> str:
    """The name in `name:arch (>= version)`."""
    return relation.split()[0].partition(":")[0]


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name
