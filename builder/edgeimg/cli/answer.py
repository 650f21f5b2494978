"""The document that a command prints with --json."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click


class Answer:
    """The one JSON document of a run with --json: its result, its error, or both."""

    def __init__(self) -> None:
        self._parts: dict[str, object] = {}

    def add(self, part: Mapping[str, object]) -> None:
        """Add keys to the document."""
        self._parts.update(part)

    def print(self) -> None:
        """Print the document on stdout, unless it is empty."""
        if self._parts:
            click.echo(json.dumps(self._parts, indent=2))
