"""The measurements start from anywhere, with the Python that the host has."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BENCH = PROJECT / "tests/bench"
LIBRARIES = {"at_rest", "cluster", "environment"}
SCRIPTS = sorted(path for path in BENCH.glob("*.py") if path.stem not in LIBRARIES)


def test_every_other_file_is_a_library() -> None:
    assert len(SCRIPTS) >= 9
    for name in LIBRARIES:
        assert "__main__" not in (BENCH / f"{name}.py").read_text()


def is_made() -> bool:
    """Whether `.venv` is as tests/run makes it; if not, the first script would install it anew."""
    stamp, wanted = PROJECT / ".venv/.installed-dev", PROJECT / "pyproject.toml"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    return stamp.exists() and stamp.read_text() == digest


@pytest.mark.skipif(not is_made(), reason="no .venv by tests/run for this pyproject.toml")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_find_the_environment_themselves(script: Path, tmp_path: Path) -> None:
    """As with `python3 …/tests/bench/NAME.py`, without the environment and outside the checkout."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [Path(sys.base_prefix, "bin", name), script, "--help"], cwd=tmp_path, text=True,
        capture_output=True, check=False, env={**environment, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script.name}")
