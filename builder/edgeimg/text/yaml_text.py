"""Reading YAML that people write: plain values, and the line of each key.

Of YAML's guesses only those are made that nobody is surprised by: numbers of digits alone, true and
false, nothing. So a MAC address of digits is no number of seconds, as YAML 1.1 has it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from edgeimg.errors import ProvisionError
from edgeimg.text.toml_text import Location

_DEPTH = 20
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})")


def read(path: Path, text: str) -> tuple[Any, dict[Location, int]]:
    """The value of a YAML document, and the line of each key and item.

    Raises ProvisionError, with the line, for what is no YAML, or says a key twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "cannot be read"
        raise ProvisionError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {what}") from None
    lines: dict[Location, int] = {}
    return (None if node is None else _value(path, node, (), lines)), lines


def _value(path: Path, node: yaml.Node, here: Location, lines: dict[Location, int]) -> Any:
    if len(here) > _DEPTH:
        raise ProvisionError(f"{path}:{node.start_mark.line + 1}: nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*here, number)] = item.start_mark.line + 1
        return [_value(path, item, (*here, at), lines) for at, item in enumerate(node.value)]
    table: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = str(getattr(key_node, "value", "")) if key_node.id == "scalar" else ""
        if not key or key in table:
            raise ProvisionError(
                f"{path}:{line}: {f'{key!r} is there twice' if key else 'expected a key'}"
            )
        lines[(*here, key)] = line
        table[key] = _value(path, value_node, (*here, key), lines)
    return table


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:  # in quotes
        return text
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if _NUMBER.fullmatch(text):
        return int(text)
    return None if text.lower() in ("", "~", "null") else text
