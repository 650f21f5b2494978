"""The pipelines of `edgeimg init --ci` as the services run them.

Their own commands run here, with the environment that the service passes. What pip and apt install
is here already, so these commands are left out.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from edgeimg import errors
from edgeimg.project import template
from edgeimg.trust import keys
from edgeimg.trust.keys import NewKey

from tests.integration.failing import Project
from tests.integration.signing import gpg, gpg_home

PROJECT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
PASSPHRASE = "correct horse"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("downloads"),
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `key`, a locked secret key as it is put into a CI service, and `public`."""
    directory = tmp_path_factory.mktemp("secret")
    passphrase = directory / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    with gpg_home() as home:
        user = keys.user_id("Releases", "releases@example.org")
        key = keys.generate(NewKey(user_id=user, home=home, passphrase_file=passphrase))
        locked = ["--passphrase", PASSPHRASE, "--armor", "--export-secret-keys"]
        (directory / "key").write_bytes(gpg(home, *locked))
        (directory / "public").write_bytes(keys.export(key))
    yield directory


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.share()
    return made


def commands(service: str, root: Path) -> str:
    """The shell of the steps after the installation, with the options of the service."""
    written = {path.name: path for path in template.write(root, service)}
    if service == "gitlab":
        job = yaml.safe_load(written[".gitlab-ci.yml"].read_text())[".edgeimg"]
        return "\n".join(["set -eo pipefail", *job["script"]])
    steps = yaml.safe_load(written["action.yml"].read_text())["runs"]["steps"]
    script = {step["name"]: step["run"] for step in steps if "run" in step}
    return "\n".join(
        [
            "set -eo pipefail\nstatus=0",
            f"bash -eo pipefail -c {shlex.quote(script['Release'])} || status=$?",
            script["Show the boots"],
            "exit $status",
        ]
    )


def run(project: Project, service: str = "gitlab", **environment: str) -> Done:
    """In a home of its own; edgeimg is a program on PATH."""
    script = commands(service, project.root)
    home = project.root.parent / "home"
    home.mkdir(exist_ok=True)
    program = home / "edgeimg"
    program.write_text(
        textwrap.dedent(f"""\
        #!/bin/bash
        secrets="${{EDGEIMG_SIGNING_KEY+x}}${{EDGEIMG_SIGNING_PASSPHRASE+x}}"
        if [ "$1" != show ] && [ -n "$secrets" ]; then exit 99; fi
        exec {sys.executable} -c 'from edgeimg.cli import main; main()' "$@"
        """)
    )
    program.chmod(0o755)
    given = {
        "PATH": f"{home}:{os.environ['PATH']}",
        "HOME": str(home),
        "RUNNER_TEMP": str(home),
        "GITHUB_STEP_SUMMARY": str(home / "summary.md"),
        "EDGEIMG_CACHE": str(project.cache),
        "PYTHONPATH": str(PROJECT),
        **environment,
    }
    arguments = [
        "--arch", "x86-64", "--k3s", str(project.k3s), "--offline", "--memory", "256",
        "--accel", "tcg", "--deadline", "10", "--allow", "dirty-overlay",
    ]  # fmt: skip
    if environment.get("BOOT") != "must":
        arguments += ["--allow", "boot", "--allow", "checks"]
    variable = "RELEASE_ARGUMENTS" if service == "github" else "EDGEIMG_ARGUMENTS"
    before = set(Path("/tmp").glob("edgeimg.*"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project.root, env={**given, variable: " ".join(arguments)},
        capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert {path for path in set(Path("/tmp").glob("edgeimg.*")) - before if path.is_dir()} == set()
    assert not (home / ".gnupg").exists()
    return done


@pytest.mark.parametrize(("service", "form"), [("github", "value"), ("gitlab", "file")])
def test_a_release_is_signed_with_the_secret_and_reported(
    project: Project, secret: Path, service: str, form: str
) -> None:
    key, passphrase = secret / "key", secret / "passphrase"
    (project.root / "keys").mkdir()
    shutil.copyfile(secret / "public", project.root / "keys/releases.asc")
    project.edit({"[budget]\n": '[release]\nkey = "keys/releases.asc"\n\n[budget]\n'})
    given = (key.read_text(), PASSPHRASE) if form == "value" else (str(key), str(passphrase))
    done = run(project, service, EDGEIMG_SIGNING_KEY=given[0], EDGEIMG_SIGNING_PASSPHRASE=given[1])
    assert done.returncode == 0, done.stderr
    assert "signed by Releases <releases@example.org>" in " ".join(done.stdout.split())
    summary = project.root.parent / "home/summary.md"
    assert summary.is_file() is (service == "github")
    assert service == "gitlab" or "### Boots" in summary.read_text()
    assert PASSPHRASE not in done.stdout + done.stderr
    out = project.root / "out"
    assert (out / "release/0.1.0/SHA256SUMS.gpg").is_file()
    assert json.loads((out / "reports/findings.sarif").read_bytes())["version"] == "2.1.0"
    assert isinstance(json.loads((out / "reports/code-quality.json").read_bytes()), list)
    assert ElementTree.parse(out / "reports/smoke.junit.xml").getroot().findall("testsuite")


def test_a_release_that_is_held_back_is_reported_too(project: Project) -> None:
    done = run(project, EDGEIMG_REHEARSE="1", BOOT="must")
    assert done.returncode == errors.SmokeError.exit_code, done.stderr
    out = project.root / "out"
    assert not list((out / "rehearsal").glob("*"))
    failures = ElementTree.parse(out / "reports/smoke.junit.xml").getroot().iter("failure")
    assert list(failures)
    assert json.loads((out / "reports/findings.sarif").read_bytes())["runs"]
    assert json.loads((out / "reports/release.json").read_bytes())["error"]["exit_code"] == 12


def test_a_rehearsal_needs_no_key_and_is_no_release(project: Project) -> None:
    done = run(project, EDGEIMG_REHEARSE="1")
    assert done.returncode == 0, done.stderr
    assert "signed by Rehearsal" in " ".join(done.stdout.split())
    out = project.root / "out"
    assert (out / "rehearsal/0.1.0/SHA256SUMS.gpg").is_file()
    assert not (out / "release").exists()


@pytest.mark.parametrize(
    ("environment", "status", "reason"),
    [
        ({}, 2, "no EDGEIMG_SIGNING_KEY"),
        ({"EDGEIMG_SIGNING_KEY": "hunter2"}, 2, "is no armored OpenPGP secret key"),
    ],
)
def test_a_missing_or_broken_key_is_one_clear_error(
    project: Project, environment: dict[str, str], status: int, reason: str
) -> None:
    done = run(project, **environment)
    assert (done.returncode, reason in done.stderr) == (status, True), done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_wrong_passphrase_ends_it_before_anything_is_built(
    project: Project, secret: Path
) -> None:
    done = run(
        project, EDGEIMG_SIGNING_KEY=str(secret / "key"), EDGEIMG_SIGNING_PASSPHRASE="battery"
    )
    assert done.returncode == errors.SigningKeyError.exit_code, done.stderr
    assert not list((project.root / "out").glob("gateway*"))
