"""Time of `edgeimg install --help` in the root of the installer's stick (x86-64), with
byte code of Python and without. Needs root, for chroot.

    sudo python3 tests/bench/installer_start.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import environment  # noqa: F401
from edgeimg.arch import X86_64
from edgeimg.build import pipeline, program
from edgeimg.build.options import BuildOptions
from edgeimg.cache.store import Store, default_root
from edgeimg.ui import Ui

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
ARGV = ("/usr/bin/python3", "-m", "edgeimg", "install", "--help")


def start(root: Path) -> float:
    """Seconds of the processor."""
    child = subprocess.Popen(
        ["chroot", root, *ARGV], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )  # fmt: skip
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, status
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print seconds of the processor and MiB of byte code, without it and with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each, of which the least counts")
    runs = parser.parse_args().runs
    plan = program.plan_installer(program.recipe(), X86_64, BuildOptions(output=Path()))
    root = pipeline.compose(plan, store=Store(default_root()), ui=Ui(verbosity=-1)).root
    bare = root.without(lambda path, _: path.endswith(".pyc"))
    for title, tree in (("without byte code", bare), ("with byte code", root)):
        with tempfile.TemporaryDirectory() as place:
            tree.extract(Path(place))
            seconds = min(start(Path(place)) for _ in range(runs))
        files = sum(node.size for path, node in tree.items() if path.endswith(".pyc"))
        print(f"{title}: {seconds:.2f} s, {files / 2**20:.1f} MiB of byte code")


if __name__ == "__main__":
    main()
