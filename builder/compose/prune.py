"""Leaving out what a gateway never reads."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

from builder.compose.patterns import read
from builder.tree import Tree


def prune(tree: Tree, patterns: Iterable[str] = ()) -> Tree:
    """The tree without what edgeimg's own list (prune.toml) and `patterns` name.

    Patterns are globs over whole paths without the leading `/`; `*` also matches `/`.
    """
    for rule in read("prune")["prune"]:
        tree = _without(tree, rule["paths"], rule.get("keep", ()))
    return _without(tree, [pattern.strip("/") for pattern in patterns], ())


def _without(tree: Tree, patterns: Iterable[str], keep: Iterable[str]) -> Tree:
    doomed, spared = _matcher(patterns), _matcher(keep)
    needed = {parent for path, _ in tree.items() if spared(path) for parent in _parents(path)}
    return tree.without(lambda path, _: doomed(path) and not spared(path) and path not in needed)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    # An empty alternative would match everything.
    regex = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")
    return lambda path: regex.match(path) is not None


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
