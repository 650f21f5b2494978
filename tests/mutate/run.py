"""Mutation testing of the rooms that decide about trust and disks: which changes no test notices.

    pip install -e '.[dev,mutate]'
    python tests/mutate/run.py [--sample N] [--seed N] [--json FILE] [ROOM]...

cosmic-ray makes one small change after another in a copy of the project, and runs the unit tests
that reach the changed line, then all unit tests of that room, then its integration tests. A change
that no test notices has survived. All changes of a room take hours, so a sample of them is tried
unless `--sample 0` asks for all; the same seed gives the same sample. Changes of annotations, which
Python does not evaluate here, and `==` to `is` for constants are left out: they have no effect.
Ends with 1 when the tests fail without any change.
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
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkItem
from coverage import CoverageData

PROJECT = Path(__file__).parents[2]
COPIED = ("builder", "docs", "overlays", "recipes", "tests", "pyproject.toml")
TIMEOUT = 600.0
"""Seconds for the tests of one room; a change may make them wait for ever, which is noticed."""
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--basetemp=work"]
MOST_FIRST = 60
"""Tests of one line that are run before the others; of more, all are run at once."""
ROOMS = {
    "cache": ("cache", "cache test_k3s_release test_cli_streams", ""),
    "fetch": (
        "fetch",
        "fetch test_k3s_release test_store test_rollout",
        "test_fetch test_fetch_hostile",
    ),
    "gates": ("release/gates.py", "test_gates test_survivors", ""),
    "flash": ("flash", "flash test_survivors", "test_flash_sectors test_flash"),
    "lock": ("lock", "test_lock_file test_lock", "test_lock"),
    "deb": ("sources/deb.py", "test_deb", ""),
    "provision": ("provision", "provision test_survivors", "test_provision"),
}
"""What is changed, below the package; unit tests and integration tests, by name or directory."""
Reached = Mapping[tuple[str, int], frozenset[str]]
"""Tests by the module, as a path in the copy, and the line that they run."""
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
    require_copy(modules[0])
    require_sound(room, [*stages[0], "--cov=edgeimg", "--cov-context=test", "--cov-report="])
    reached = lines_reached(Path(".coverage"))
    for argv in stages[1:]:
        require_sound(room, argv)
    with use_db(Path(f"{room}.sqlite"), mode=WorkDB.Mode.create) as database:
        init(modules, database, {})
        pending = [item for item in database.pending_work_items if has_effect(item)]
        items = sorted(pending, key=lambda item: repr(item.mutations))
    chosen = random.Random(seed).sample(items, min(most, len(items))) if most else items
    survivors = []
    for number, diff in enumerate(survive(chosen, stages, reached), 1):
        passed = time.monotonic() - began
        result = "survived" if diff else "noticed"
        print(f"{room}: {number} of {len(chosen)}: {result}, {passed:.0f} s", file=sys.stderr)
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
    place = Path("tests", level)
    files = [
        path
        for name in names.split()
        for path in ([place / name] if (place / name).is_dir() else place.rglob(f"{name}.py"))
    ]
    return [*PYTEST, *map(str, files)]


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


def lines_reached(measured: Path) -> Reached:
    """Which test functions run which line, as pytest-cov measured it."""
    data = CoverageData(basename=str(measured))
    data.read()
    reached: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for module in data.measured_files():
        place = os.path.relpath(module)
        for line, contexts in data.contexts_by_lineno(module).items():
            tests = (context.partition("|")[0].partition("[")[0] for context in contexts)
            reached[place, line].update(test for test in tests if test)
    return {place: frozenset(tests) for place, tests in reached.items()}


def survive(items: list[WorkItem], stages: list[list[str]], reached: Reached) -> Iterator[str]:
    """The diff of each change that all tests pass with; nothing for those that they notice."""
    for item in items:
        (change,) = item.mutations
        lines = range(change.start_pos[0], change.end_pos[0] + 1)
        first = {test for n in lines for test in reached.get((str(change.module_path), n), ())}
        diff = ""
        for argv in [[*PYTEST, *sorted(first)]] * (0 < len(first) <= MOST_FIRST) + stages:
            result = mutate_and_test(item.mutations, shlex.join(argv), TIMEOUT)
            diff = result.diff or "" if result.test_outcome is TestOutcome.SURVIVED else ""
            if not diff:
                break
        yield diff


def require_copy(module: Path) -> None:
    """Ends the program unless the tests read the copy."""
    where = subprocess.run(
        [sys.executable, "-c", "import edgeimg; print(edgeimg.__file__)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if Path(where.strip()).parent != Path("builder/edgeimg").resolve() or not module.is_file():
        sys.exit(f"the tests would read {where.strip()}, which is not the copy")


def require_sound(room: str, argv: list[str]) -> None:
    """Ends the program unless the tests pass without any change."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{room}: the tests fail without any change\n{done.stdout[-2000:]}")


if __name__ == "__main__":
    main()
