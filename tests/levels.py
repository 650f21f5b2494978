"""The test levels, in order of cost; stops at the first that fails.

With `--strict`, or CI=true, a missing program or a test that is skipped for one is a failure.
Where there is a time limit, tests/late.py says what is left out.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import late  # noqa: E402
from tests.shell_files import FORMAT, LINT, shell_files  # noqa: E402
from tests.strict import VARIABLE  # noqa: E402

STANDIN = ["--k3s", "standin", "-o", "out/test"]
SOURCES = ["builder", "tests", "docs", "edgeimg"]
# In the order and the groups of tests/boot/conftest.py.
IN_ORDER = ["--dist", "loadfile", "--no-loadscope-reorder"]
# Three workers for two cores: a build waits for disks and guests now and then. A file's tests share
# what they build; the files that take long come first (tests/integration/conftest.py).
INTEGRATION = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]

_WORDS = 16
"""Of a command line in the log."""
LEVELS: dict[str, list[list[str]]] = {
    "check": [
        ["ruff", "check", *SOURCES],
        ["ruff", "format", "--check", *SOURCES],
        ["mypy"],
        ["mypy", "builder/standin"],
        ["mypy", "--config-file", "tests/mypy.ini"],
        ["mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"],
        ["shellcheck", *LINT, *shell_files()],
        ["shfmt", *FORMAT, "-d", *shell_files()],
        ["codespell"],
    ],
    "unit": [["pytest", "-q", "-n", "auto", "tests/unit"]],
    "standin": [["python", "builder/standin/test.py"]],
    "images": [["edgeimg", "build", "-a", "x86-64", *STANDIN]],
    "images-arm": [["edgeimg", "build", "-a", "arm64", "-a", "arm", *STANDIN]],
    "integration": [["pytest", "-q", "--durations=40", *INTEGRATION, "tests/integration"]],
    "browser": [["pytest", "-q", "-rs", "tests/browser"]],
    # Each guest has one processor (tests/gateway.py), which keeps one core busy.
    "boot": [["pytest", "-v", "-rPs", "--durations=50", "-n", "2", *IN_ORDER, "tests/boot"]],
    "release": [["pytest", "-v", "tests/release"]],
}


def main(names: list[str]) -> int:
    """Run the named levels, or all; returns the exit status of the first failure."""
    strict = "--strict" in names or os.environ.get("CI") == "true"
    names = [name for name in names if name != "--strict"]
    environment = {**os.environ, **({VARIABLE: "1"} if strict else {})}
    unknown = [name for name in names if name not in LEVELS]
    if unknown:
        print(f"unknown level {unknown[0]!r}; known: {', '.join(LEVELS)}", file=sys.stderr)
        return 2
    took: dict[str, float] = {}
    for name in names or LEVELS:
        # Two architectures take twice as long as one.
        if name == "images-arm" and late.is_over(
            environment, 2 * took.get("images", 0) + late.MARGIN
        ):
            print(f"--- {name}: left out, there is no time to compile K3s for ARM", flush=True)
            environment[late.UNTIL] = late.OVER
            continue
        for command in LEVELS[name]:
            if shutil.which(command[0]) is None:
                if strict:
                    print(f"--- {name}: no {command[0]} on PATH", flush=True)
                    return 1
                print(f"--- {name}: no {command[0]} on PATH, left out", flush=True)
                continue
            print(f"--- {name}: {_shown(command)}", flush=True)
            began, used = time.monotonic(), processor_seconds()
            status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
            passed = time.monotonic() - began
            used = processor_seconds() - used
            print(f"--- {name}: {passed:.0f} s ({used:.0f} s of processors), status {status}",
                  flush=True)  # fmt: skip
            took[name] = took.get(name, 0) + passed
            if status:
                return status
    return 0


def _shown(command: list[str]) -> str:
    """A command line without most of its files."""
    shown = " ".join(command[:_WORDS])
    return f"{shown} … ({len(command) - _WORDS} more)" if len(command) > _WORDS else shown


def processor_seconds() -> float:
    """What the programs that have ended used, user and system."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
