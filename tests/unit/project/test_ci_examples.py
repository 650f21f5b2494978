"""The pipelines of projects: valid by their schemas, made of commands and files that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from edgeimg import __version__, builtin
from edgeimg.cli import cli
from edgeimg.project import template
from edgeimg.smoke.junit import junit
from edgeimg.smoke.verdict import Check

from tests.unit.smoke.test_vm_junit import Report

PROJECT = Path(__file__).parents[3]
CI = builtin.directory("ci")
ACTION, WORKFLOW = CI / "github/action.yml", CI / "github/workflow.yml"
GITLAB = CI / "gitlab/pipeline.yml"
SCRIPT = CI / "release.sh"
SCHEMAS = {"github-actions": ACTION, "github-workflows": WORKFLOW, "gitlab-ci": GITLAB}


def validate(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    """With the schema that check-jsonschema carries; without network."""
    program = Path(sys.executable).with_name("check-jsonschema")
    return subprocess.run(
        [program, "--builtin-schema", f"vendor.{schema}", path], capture_output=True, text=True
    )


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def resolved(path: Path) -> Any:
    """The document; of GitLab's with its jobs whole, for hidden ones are not looked into."""
    document = load(path)
    if path == GITLAB:
        hidden = document.pop(".edgeimg")
        for name in ("rehearse", "release"):
            job = document[name]
            del job["extends"]
            variables = {**hidden["variables"], **job.get("variables", {})}
            document[name] = {**hidden, **job, "variables": variables}
    return document


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_is_valid(schema: str, tmp_path: Path) -> None:
    done = validate(schema, SCHEMAS[schema])
    assert done.returncode == 0, done.stdout + done.stderr
    # A workflow's `on` is a boolean to YAML 1.1.
    text = yaml.safe_dump(resolved(SCHEMAS[schema])).replace("true:\n", "on:\n", 1)
    whole = tmp_path / "whole.yml"
    whole.write_text(text)
    done = validate(schema, whole)
    assert done.returncode == 0, done.stdout + done.stderr
    whole.write_text(text.replace("when: always", "when: ever").replace("steps:", "step:"))
    assert validate(schema, whole).returncode != 0


def scripts() -> dict[str, str]:
    """Every piece of shell, by where it is."""
    found = {
        f"action, {step['name']}": step["run"]
        for step in load(ACTION)["runs"]["steps"]
        if "run" in step
    }
    job = load(GITLAB)[".edgeimg"]
    found["gitlab"] = "\n".join([*job["before_script"], *job["script"]])
    return {**found, "release.sh": SCRIPT.read_text()}


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck: apt install shellcheck")
@pytest.mark.parametrize("name", scripts())
def test_shellcheck_finds_nothing(name: str) -> None:
    text = scripts()[name]
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "-"], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_secrets_and_inputs_are_not_pasted_into_shell() -> None:
    for name, text in scripts().items():
        assert "${{" not in text, name


def test_every_option_exists() -> None:
    text = SCRIPT.read_text().replace("\\\n", " ")
    calls = re.findall(r'"\$edgeimg" (\w+)([^|>&;]*)', text)
    assert {name for name, _ in calls} == {"genkey", "release", "verify"}
    for name, arguments in calls:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known = {option for param in command.params for option in param.opts}
        used = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", arguments))
        assert used <= known, name


def test_every_file_exists() -> None:
    steps = load(ACTION)["runs"]["steps"]
    text = "\n".join([*scripts().values(), *(str(step.get("with", "")) for step in steps)])
    shown = re.findall(r"edgeimg show (\S+)", text)
    assert set(shown) == {"ci/release.sh", "ci/summary.py"}
    for name in shown:
        assert builtin.find(name).is_file(), name
    caches = load(GITLAB)[".edgeimg"]["cache"]
    keys = [path for cache in caches if "files" in cache["key"] for path in cache["key"]["files"]]
    locks = [load(ACTION)["inputs"]["lock"]["default"]]
    for path in [*keys, *locks]:
        assert (PROJECT / path).is_file(), path


@pytest.mark.parametrize("service", template.PIPELINES)
def test_a_project_gets_the_pipeline_of_this_version(service: str, tmp_path: Path) -> None:
    template.write(tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    written = template.write(tmp_path, service)
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after - before == set(written) == {tmp_path / p for p in template.PIPELINES[service]}
    assert len(after) < 12
    text = "".join(path.read_text() for path in written)
    assert "@VERSION@" not in text
    assert re.findall(r"edgeimg==(\S+)", text) == [__version__]
    for path in written:
        load(path)
    uses = re.findall(r"uses: \./(\S+)", text)
    assert all((tmp_path / use / "action.yml").is_file() for use in uses)
    assert bool(uses) is (service == "github")


def test_what_is_shown_is_what_the_script_leaves() -> None:
    reports = {"findings.sarif", "code-quality.json", "smoke.junit.xml"}
    told = str(load(ACTION)) + str(load(GITLAB))
    assert {name for name in reports if f"out/reports/{name}" in told} == reports
    assert "reports=${EDGEIMG_REPORTS:-out/reports}" in SCRIPT.read_text()
    artifacts = load(GITLAB)[".edgeimg"]["artifacts"]
    assert artifacts["when"] == "always"
    for step in load(ACTION)["runs"]["steps"]:
        if step["name"].startswith(("Show", "Keep")):
            assert "!cancelled()" in step["if"], step["name"]


def test_only_tags_see_the_key() -> None:
    jobs = load(WORKFLOW)["jobs"]
    assert "secrets." not in str(jobs["rehearse"])
    assert "secrets." in str(jobs["release"])
    assert (jobs["rehearse"]["if"], jobs["release"]["if"]) == (
        "github.ref_type != 'tag'",
        "github.ref_type == 'tag'",
    )
    assert load(GITLAB)["release"]["rules"] == [{"if": "$CI_COMMIT_TAG"}]
    assert load(GITLAB)["rehearse"]["variables"]["EDGEIMG_REHEARSE"] == "1"


def test_boots_are_a_table_and_failures_annotations(tmp_path: Path) -> None:
    path = tmp_path / "smoke.junit.xml"
    bad = Check(name="a|b", failure="<x> & 100%\nline two")
    path.write_bytes(junit([Report("x86-64", (Check(name="pod"), bad))]))
    done = subprocess.run(
        [sys.executable, CI / "summary.py", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == [
        "| x86-64 | pod | ✅ |",
        "| x86-64 | a\\|b | ❌ &lt;x> &amp; 100% line two |",
    ]
    assert done.stderr == "::error title=x86-64%3A a|b::<x> & 100%25%0Aline two\n"
