"""Mutation testing of the rooms that decide about trust and disks: which changes no test notices.

    pip install -e '.[dev,mutate]'
    python tests/mutate/run.py [--sample N] [--seed N] [--json FILE] [ROOM]...

cosmic-ray makes one small change after another in a copy of the project, and runs the unit tests
of that room, then its integration tests. A change that no test notices has survived. All changes
of a room take hours, so a sample of them is tried unless `--sample 0` asks for all; the same seed
gives the same sample. Changes of annotations, which Python does not evaluate here, and `==` to
`is` for constants are left out: they have no effect. Ends with 1 when the tests fail without any
change.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkItem

PROJECT = Path(__file__).parents[2]
COPIED = ("builder", "docs", "overlays", "recipes", "tests", "pyproject.toml")
TIMEOUT = 600.0
"""Seconds for the tests of one room; a change may make them wait for ever, which is noticed."""
ROOMS = {
    "cache": ("cache", "test_store test_store_limit test_result test_cli_streams", ""),
    "fetch": (
        "fetch",
        "test_fetch test_mirrors test_k3s_release test_store test_shared_cache",
        "test_fetch test_fetch_hostile",
    ),
    "gates": ("release/gates.py", "test_gates test_survivors", ""),
    "flash": (
        "flash",
        "test_flash test_flash_kernel test_flash_sectors test_flash_signatures test_survivors",
        "test_flash_sectors test_flash",
    ),
    "lock": ("lock", "test_lock_file test_lock", "test_lock"),
    "deb": ("sources/deb.py", "test_deb", ""),
    "provision": (
        "provision",
        "test_provision test_provision_agree test_provision_cli test_provision_nocloud "
        "test_provision_settings test_provision_signed test_settings_cases test_survivors",
        "test_provision",
    ),
}
"""What is changed, below the package; the unit tests, and the integration tests, by name."""
_IDENTITY = ("Eq_Is", "NotEq_IsNot", "Eq_IsNot", "NotEq_Is", "Is_Eq", "IsNot_NotEq")
"""Ends of operators of cosmic-ray that replace equality by identity, or the reverse."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What became of the changes of one room."""

    room: str
    possible: int
    tried: int
    survivors: tuple[str, ...]
    """Unified diffs."""
    seconds: float

    def __str__(self) -> str:
        noticed = self.tried - len(self.survivors)
        share = 100 * noticed / self.tried if self.tried else 100.0
        return (
            f"{self.room}: {noticed} of {self.tried} changes noticed ({share:.0f} %), "
            f"{self.possible} possible, {self.seconds:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of: {', '.join(ROOMS)}")
    parser.add_argument("--sample", type=int, default=40, help="changes of each room; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write scores and survivors there")
    arguments = parser.parse_args()
    if unknown := set(arguments.rooms) - set(ROOMS):
        parser.error(f"no such room: {', '.join(sorted(unknown))}")
    scores = []
    with tempfile.TemporaryDirectory(prefix="edgeimg-mutate.") as name:
        copy(Path(name))
        os.chdir(name)
        # The copy goes before the installed package; no byte code may outlive a change.
        os.environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{name}/builder",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for room in arguments.rooms or ROOMS:
            scores.append(measure(room, arguments.sample, arguments.seed))
            if arguments.json:
                rows = [{**vars(score), "survivors": score.survivors} for score in scores]
                arguments.json.write_text(json.dumps(rows, indent=2))
    for score in scores:
        print(score)


def copy(directory: Path) -> None:
    """The parts of the project that its unit tests read."""
    leave = shutil.ignore_patterns("__pycache__", ".*")
    for part in COPIED:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, directory / part, symlinks=True, ignore=leave)
        else:
            shutil.copy2(source, directory / part)


def measure(room: str, most: int, seed: int) -> Score:
    """Try the changes of a room, and print each survivor when it is found."""
    began = time.monotonic()
    place, units, integration = ROOMS[room]
    source = Path("builder/edgeimg", place)
    modules = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    stages = [
        tests_of("unit", units),
        *([tests_of("integration", integration)] * bool(integration)),
    ]
    for argv in stages:
        require_sound(room, modules[0], argv)
    with use_db(Path(f"{room}.sqlite"), mode=WorkDB.Mode.create) as database:
        init(modules, database, {})
        pending = [item for item in database.pending_work_items if has_effect(item)]
        items = sorted(pending, key=lambda item: repr(item.mutations))
    chosen = random.Random(seed).sample(items, min(most, len(items))) if most else items
    survivors = []
    for number, diff in enumerate(survive(chosen, [shlex.join(argv) for argv in stages]), 1):
        if diff:
            survivors.append(diff)
            print(f"{room}: survivor {len(survivors)} after {number}\n{diff}\n", flush=True)
    return Score(
        room=room,
        possible=len(items),
        tried=len(chosen),
        survivors=tuple(survivors),
        seconds=time.monotonic() - began,
    )


def tests_of(level: str, names: str) -> list[str]:
    """The command that runs tests of a level, and stops at the first that fails."""
    files = [path for name in names.split() for path in Path("tests", level).rglob(f"{name}.py")]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp=work"]
    return [sys.executable, "-m", "pytest", *options, *map(str, files)]


def has_effect(item: WorkItem) -> bool:
    """Whether a change can change what the program does."""
    (change,) = item.mutations
    if change.operator_name.endswith(_IDENTITY):
        return False
    return not any(
        first <= change.start_pos and change.end_pos <= last
        for first, last in annotations(change.module_path)
    )


@functools.cache
def annotations(module: Path) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    """Begin and end (line, column) of each annotation of a module."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(module.read_bytes())):
        match node:
            case ast.arg() | ast.AnnAssign():
                found.append(node.annotation)
            case ast.FunctionDef():
                found.append(node.returns)
    return tuple(
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if node is not None
    )


def survive(items: list[WorkItem], commands: list[str]) -> Iterator[str]:
    """The diff of each change that all tests pass with; nothing for those that they notice."""
    for item in items:
        diff = ""
        for command in commands:
            result = mutate_and_test(item.mutations, command, TIMEOUT)
            diff = result.diff or "" if result.test_outcome is TestOutcome.SURVIVED else ""
            if not diff:
                break
        yield diff


def require_sound(room: str, module: Path, argv: list[str]) -> None:
    """Ends the program unless the tests pass, and read the copy."""
    where = subprocess.run(
        [sys.executable, "-c", "import edgeimg; print(edgeimg.__file__)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if Path(where.strip()).parent != Path("builder/edgeimg").resolve() or not module.is_file():
        sys.exit(f"the tests would read {where.strip()}, which is not the copy")
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{room}: the tests fail without any change\n{done.stdout[-2000:]}")


if __name__ == "__main__":
    main()
