"""Strict mode: what CI does in place of skipping."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import late, levels
from tests.shell_files import FORMAT, LINT, ROOT, shell_files
from tests.strict import VARIABLE

TESTS = """\
import pytest
from tests.strict import ALLOWED

@pytest.mark.skipif(True, reason="no thing: apt install thing")
def test_of_a_program(): pass

def test_of_a_program_that_is_looked_for_late():
    pytest.skip("no thing")

@pytest.mark.skipif(True, reason="needs root, loop devices")
def test_of_a_device(): pass

@pytest.mark.xfail
def test_that_fails_as_expected(): assert False

def test_that_passes(): pass
"""
LATE = "import pytest\npytest.importorskip('a_module_that_nobody_has')\n"


def run(directory: Path, strict: str) -> str:
    """The last line of pytest, over the tests above."""
    (directory / "conftest.py").write_text(
        "from tests.strict import pytest_make_collect_report, pytest_runtest_makereport\n"
    )
    (directory / "test_programs.py").write_text(TESTS)
    (directory / "test_module.py").write_text(LATE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: strict}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", directory, "--continue-on-collection-errors", directory],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_a_skipped_test_fails_in_strict_mode_only(tmp_path: Path) -> None:
    assert run(tmp_path, "0").startswith("1 passed, 4 skipped, 1 xfailed")
    strict = run(tmp_path, "1")
    assert strict.startswith("1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors")


@pytest.mark.parametrize(
    ("arguments", "ci", "status"),
    [(["check"], "", 0), (["check", "--strict"], "", 1), (["check"], "true", 1)],
)
def test_a_missing_program_fails_in_strict_mode_only(
    arguments: list[str], ci: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(levels, "LEVELS", {"check": [["a-program-that-nobody-has"], ["true"]]})
    assert levels.main(arguments) == status


def test_strict_mode_reaches_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(levels, "LEVELS", {"check": [["sh", "-c", f'[ "${VARIABLE}" = 1 ]']]})
    assert levels.main(["--strict"]) == 0
    assert levels.main([]) == 1


@pytest.mark.parametrize(
    ("seconds", "levels_run", "until"),
    [(None, "images images-arm boot", None), (3600, "images images-arm boot", None),
     (599, "images boot", late.OVER)],
)  # fmt: skip
def test_arm_images_are_left_out_when_guests_start_no_more(
    seconds: int | None,
    levels_run: str,
    until: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Later levels see that the time is over, so that they compile nothing either."""
    log = tmp_path / "log"
    if seconds is None:
        monkeypatch.delenv(late.UNTIL, raising=False)
    else:
        monkeypatch.setenv(late.UNTIL, str(int(time.time()) + seconds))
    command = f'echo "$1 ${{{late.UNTIL}-}}" >> {log}'
    names = ("images", "images-arm", "boot")
    monkeypatch.setattr(
        levels, "LEVELS", {name: [["sh", "-c", command, "sh", name]] for name in names}
    )
    assert levels.main([]) == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert " ".join(line[0] for line in lines) == levels_run
    assert (lines[-1][1:] == [until]) is (until is not None)


def test_ci_is_strict() -> None:
    assert "exec tests/run --strict\n" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize(
    ("program", "options", "text"),
    [
        ("shellcheck", LINT, "#!/bin/sh\nfor name in $(ls *.txt); do cd $name; done\n"),
        ("shfmt", (*FORMAT, "-d"), "#!/bin/sh\nif true; then\n  echo\nfi\n"),
    ],
)
def test_a_script_is_found_and_refused(
    program: str, options: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    (tmp_path / "overlays").mkdir()
    script = tmp_path / "overlays/without-extension"
    for content, refused in ((text, True), ("#!/bin/sh\necho\n", False)):
        script.write_text(content)
        (found,) = shell_files(tmp_path)
        done = subprocess.run([program, *options, tmp_path / found], capture_output=True)
        assert (done.returncode != 0) is refused
