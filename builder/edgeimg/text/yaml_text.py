"""Reading YAML that people write: plain values, and the line of each key.

Of YAML's guesses only those are made that nobody is surprised by: numbers of digits alone, true and
false, nothing. So a MAC address of digits is no number of seconds, as YAML 1.1 has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from edgeimg.errors import ProvisionError
from edgeimg.text.toml_text import Location

MAX_NODES = 20_000
"""Of settings that people write, with aliases written out."""
_DEPTH = 20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml if it is available: ten times as fast, and it bounds the depth itself."""
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})")


class MalformedError(ValueError):
    """A text is not YAML, or out of bounds; `line` is counted from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str, *, nodes: int = MAX_NODES) -> list[yaml.Node]:
    """The documents of a YAML text as nodes, of which each alias counts as one.

    Raises MalformedError for what is not YAML, and for more than `nodes` nodes.
    """
    try:
        _count(yaml.parse(text, Loader=_LOADER), nodes)
        return [node for node in yaml.compose_all(text, Loader=_LOADER) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", "cannot be read")
        if mark and "cannot start any token" in str(problem) and _has_tab(text, mark.line):
            problem = "a tab in front of a value: YAML is indented with blanks"
        raise MalformedError(mark.line + 1 if mark else 1, f"not YAML: {problem}") from None
    except (RecursionError, ValueError, MemoryError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(1, "not YAML: nested too deeply") from None


def read(path: Path, text: str) -> tuple[Any, dict[Location, int]]:
    """The value of a YAML document, and the line of each key and item.

    Raises ProvisionError, with the line, for what is no YAML, or says a key twice.
    """
    try:
        documents = compose(text)
    except MalformedError as error:
        raise ProvisionError(f"{path}:{error.line}: {error}") from None
    if len(documents) > 1:
        line = documents[1].start_mark.line + 1
        raise ProvisionError(f"{path}:{line}: a second document: expected one")
    lines: dict[Location, int] = {}
    return (_value(path, documents[0], (), lines) if documents else None), lines


def _has_tab(text: str, line: int) -> bool:
    lines = text.splitlines()[line : line + 1]
    return any("\t" in one[: len(one) - len(one.lstrip())] for one in lines)


def _count(events: Iterator[Any], most: int) -> None:
    count = 0
    for event in events:
        count += isinstance(event, yaml.NodeEvent | yaml.DocumentStartEvent)
        if count > most:
            raise MalformedError(event.start_mark.line + 1, f"more than {most} values")


def _value(path: Path, node: yaml.Node, location: Location, lines: dict[Location, int]) -> Any:
    if len(location) > _DEPTH:
        raise ProvisionError(f"{path}:{node.start_mark.line + 1}: nested too deeply")
    if len(lines) > MAX_NODES:  # aliases are written out here
        raise ProvisionError(f"{path}:{node.start_mark.line + 1}: more than {MAX_NODES} values")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*location, number)] = item.start_mark.line + 1
        return [_value(path, item, (*location, at), lines) for at, item in enumerate(node.value)]
    table: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = str(getattr(key_node, "value", "")) if key_node.id == "scalar" else ""
        if not key or key in table:
            raise ProvisionError(
                f"{path}:{line}: {f'{key!r} is there twice' if key else 'expected a key'}"
            )
        lines[(*location, key)] = line
        table[key] = _value(path, value_node, (*location, key), lines)
    return table


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style:  # in quotes, or a block
        return text
    if text.lower() in TRUTH:
        return TRUTH[text.lower()]
    if _NUMBER.fullmatch(text):
        return int(text)
    return None if text.lower() in ("", "~", "null") else text
