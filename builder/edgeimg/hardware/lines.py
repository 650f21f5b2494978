"""The lines of a recipe that close the gaps of a coverage."""

from __future__ import annotations

import json
import re

from edgeimg.hardware import known
from edgeimg.hardware.coverage import GAPS, Coverage, Row


def recipe_lines(coverage: Coverage) -> list[str]:
    """TOML, a line each; empty when there is no gap. Text of the machine is in comments only.

    What edgeimg leaves out of every image is in comments: the user may want it.
    """
    lines: list[str] = []
    modules = _modules(coverage, "driver missing")
    if modules:
        lines += ["[kernel]", "modules = [", *_entries(modules), "]"]
    found = _firmware(coverage)
    lines += ["", *found] if lines and found else found
    for module, place in _modules(coverage, "left out").items():
        lines.append(
            f"# left out, as a gateway seldom needs it: {json.dumps(module)}  {place}".rstrip()
        )
    return lines


def _modules(coverage: Coverage, state: str) -> dict[str, str]:
    """Modules to add, with the first device that needs each."""
    found: dict[str, str] = {}
    for row in coverage.rows:
        if row.state == state:
            for module in row.wanted:
                found.setdefault(module, _place(row))
    return found


def _place(row: Row) -> str:
    text = row.device.place or row.device.modalias
    return re.sub(r"[^\x20-\x7e]", "?", text)[:60]


def _entries(modules: dict[str, str]) -> list[str]:
    width = max(len(json.dumps(module)) for module in modules) + 1
    return [
        f"  {json.dumps(module) + ',':<{width}}  # {place}" for module, place in modules.items()
    ]


def _firmware(coverage: Coverage) -> list[str]:
    modules: dict[str, None] = {}
    packages: set[str] = set()
    unknown: set[str] = set()
    for row in coverage.rows:
        if row.state not in GAPS:
            continue
        for asked in row.firmware:
            if asked.present or not asked.files:
                continue
            modules[asked.module] = None
            owners = {known.package(name) for name in asked.files}
            packages |= owners - {""}
            if owners == {""}:
                unknown.add(asked.module)
    if not modules:
        return []
    named = [name for name in modules if name not in unknown]
    lines = []
    if named:
        lines += [
            "[firmware]",
            f"packages = {json.dumps(sorted(packages))}",
            f"modules = {json.dumps(named)}",
        ]
    return lines + [
        f"# {json.dumps(name)} asks for firmware of a package that edgeimg does not know"
        for name in sorted(unknown)
    ]
