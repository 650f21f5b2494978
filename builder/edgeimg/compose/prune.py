"""Removes files that a gateway never reads."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgeimg.text import typed
from edgeimg.tree import Node, Tree


@dataclass(frozen=True)
class _Rule:
    paths: tuple[str, ...]
    keep: tuple[str, ...] = ()


def prune(tree: Tree, patterns: Iterable[str] = ()) -> Tree:
    """The tree without the files in edgeimg's own list (prune.toml) and in `patterns`.

    Patterns are globs over whole paths without the leading `/`; `*` also matches `/`. With a `!`
    in front, one keeps files that edgeimg's own list would remove.
    """
    globs = [pattern.strip("/") for pattern in patterns]
    exceptions = [
        pattern.removeprefix("!").strip("/") for pattern in globs if pattern.startswith("!")
    ]
    rules = typed.data_file(__file__, "prune", dict[str, tuple[_Rule, ...]])
    for rule in rules["prune"]:
        tree = _without(tree, rule.paths, [*rule.keep, *exceptions])
    return _without(tree, [pattern for pattern in globs if not pattern.startswith("!")], ())


def _without(tree: Tree, patterns: Iterable[str], keep: Iterable[str]) -> Tree:
    doomed, spared = _matcher(patterns), _matcher(keep)
    spared_paths = {path for path, _ in tree.items() if spared(path)}
    if not spared_paths:
        return tree.without(lambda path, _: doomed(path))
    parents = {parent for path in spared_paths for parent in _parents(path)}

    def drop(path: str, _: Node) -> bool:
        # Other files of a directory that stays only for a spared file are removed too.
        is_doomed = doomed(path) or any(doomed(parent) for parent in _parents(path))
        inside = path in spared_paths or any(parent in spared_paths for parent in _parents(path))
        return is_doomed and not inside and path not in parents

    return tree.without(drop)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    # An empty alternative would match everything.
    regex = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")
    return lambda path: regex.match(path) is not None


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
