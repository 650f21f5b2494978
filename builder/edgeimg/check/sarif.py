"""Findings as SARIF 2.1.0 (OASIS), which code hosts show beside the code.

One run for each architecture, identified by `automationDetails`. What comes from a file of the
project points at that file; what is in the recipe, at its line; everything else at its path in
the image, below the base `IMAGE`. No clock and no host is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from edgeimg import __version__
from edgeimg.check.findings import Finding
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.rules import RULES
from edgeimg.text.toml_text import Location, key_lines

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_BASES = {"IMAGE": {"description": {"text": "The root file system of the image."}}}


def document(findings: Mapping[str, Sequence[Finding]], source: RecipeFile | None = None) -> bytes:
    """The SARIF log of the findings by architecture; `source` is the recipe that they are of."""
    runs = [_run(arch, items, source) for arch, items in findings.items()]
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}
    text = json.dumps(log, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _run(arch: str, findings: Sequence[Finding], source: RecipeFile | None) -> dict[str, object]:
    names = sorted({_rule_id(item) for item in findings} | set(RULES))
    lines = key_lines(source.path.read_text(encoding="utf-8")) if source else {}
    recipe = _recipe_path(source)
    return {
        "tool": {
            "driver": {
                "name": "edgeimg",
                "semanticVersion": __version__,
                "rules": [_rule(name, findings) for name in names],
            }
        },
        # A category for GitHub, which takes what follows the last slash for the number of a run and
        # refuses two runs of one category.
        "automationDetails": {"id": f"edgeimg/check/{arch}/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": _BASES,
        "results": [_result(arch, item, names, recipe, lines) for item in findings],
    }


def _rule_id(item: Finding) -> str:
    return item.rule or item.check


def _rule(name: str, findings: Sequence[Finding]) -> dict[str, object]:
    rule = RULES.get(name)
    if rule is None:  # of a family that has no table
        severity = next(item.severity for item in findings if _rule_id(item) == name)
        return {"id": name, "defaultConfiguration": {"level": severity}}
    return {
        "id": name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": [rule.check]},
    }


def _result(
    arch: str,
    item: Finding,
    names: list[str],
    recipe: str,
    lines: Mapping[Location, int],
) -> dict[str, object]:
    name = _rule_id(item)
    fix = f" (to fix it: {item.fix})" if item.fix else ""
    identity = "\0".join((name, arch, item.path, item.item))
    return {
        "ruleId": name,
        "ruleIndex": names.index(name),
        "level": item.severity,
        "message": {"text": f"{arch}: {item.message}{fix}"},
        "locations": [
            {
                "physicalLocation": _physical(item, recipe, lines),
                "logicalLocations": [{"fullyQualifiedName": item.place, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"edgeimg/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _physical(item: Finding, recipe: str, lines: Mapping[Location, int]) -> dict[str, object]:
    rule = RULES.get(item.rule)
    if rule is not None and rule.place in ("recipe", "guest"):
        line = _line(item.path, lines)
        return {"artifactLocation": {"uri": quote(recipe)}, "region": {"startLine": line}}
    location = {"uri": quote(item.path), "uriBaseId": "IMAGE"}
    if item.source:  # code hosts want it relative to the checkout, without a base
        location = {"uri": quote(item.source)}
    if item.source or item.line:
        return {"artifactLocation": location, "region": {"startLine": item.line or 1}}
    return {"artifactLocation": location}


def _line(key: str, lines: Mapping[Location, int]) -> int:
    """The line of the recipe's key, or of the table it would be in."""
    parts = tuple(key.split("."))
    for depth in range(len(parts), 0, -1):
        if parts[:depth] in lines:
            return lines[parts[:depth]]
    return 1


def _recipe_path(source: RecipeFile | None) -> str:
    if source is None:
        return "recipes/gateway.toml"
    path = source.path.resolve()
    project = source.project.resolve()
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else path.name
