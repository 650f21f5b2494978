#!/usr/bin/env python3
"""Run the stand-in's Go tests, compiled as build.py compiles, so that both share Go's cache.

python3 test.py [ARGUMENT]...     as for `go test`
"""

import os
import shutil
import subprocess
import sys

from toolchain import FLAGS, GO_ENVIRONMENT, HERE


def main(arguments: list[str]) -> int:
    go = shutil.which("go")
    if go is None:
        print("no go on PATH, left out")
        return int(os.environ.get("EDGEIMG_TEST_STRICT") == "1")
    packages = sorted({f"./{path.parent.relative_to(HERE)}" for path in HERE.rglob("*_test.go")})
    command = [go, "test", *FLAGS, *arguments, *packages]
    return subprocess.run(
        command, cwd=HERE, env={**os.environ, **GO_ENVIRONMENT}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
