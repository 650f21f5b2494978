"""The test levels, in order of cost; stops at the first that fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["builder", "tests", "docs", "edgeimg"]
# File by file, in the order of tests/boot/conftest.py: a file's tests share a guest.
IN_ORDER = ["--dist", "loadfile", "--no-loadscope-reorder"]

LEVELS: dict[str, list[list[str]]] = {
    "check": [
        ["ruff", "check", *SOURCES],
        ["ruff", "format", "--check", *SOURCES],
        ["mypy"],
        ["mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"],
    ],
    "unit": [["pytest", "-q", "-n", "auto", "tests/unit"]],
    "standin": [["python", "builder/standin/test.py"]],
    "images": [["edgeimg", "build", "-a", "all", "--k3s", "standin", "-o", "out/test"]],
    "integration": [["pytest", "-q", "--durations=25", "-n", "2", "tests/integration"]],
    "browser": [["pytest", "-q", "-rs", "tests/browser"]],
    # Each guest has one processor (tests/gateway.py), which keeps one core busy.
    "boot": [["pytest", "-v", "-rP", "--durations=50", "-n", "2", *IN_ORDER, "tests/boot"]],
    "release": [["pytest", "-v", "tests/release"]],
}


def main(names: list[str]) -> int:
    """Run the named levels, or all; returns the exit status of the first failure."""
    unknown = [name for name in names if name not in LEVELS]
    if unknown:
        print(f"unknown level {unknown[0]!r}; known: {', '.join(LEVELS)}", file=sys.stderr)
        return 2
    for name in names or LEVELS:
        for command in LEVELS[name]:
            if shutil.which(command[0]) is None:
                print(f"--- {name}: no {command[0]} on PATH, left out", flush=True)
                continue
            print(f"--- {name}: {' '.join(command)}", flush=True)
            began = time.monotonic()
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
            print(f"--- {name}: {time.monotonic() - began:.0f} s, status {status}", flush=True)
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
