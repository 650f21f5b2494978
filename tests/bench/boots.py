"""What the root's compression does to a boot: time to the pod and memory, side by side in one run.

    python3 tests/bench/boots.py [--arch ARCH] [--k3s standin|PATH] [--rounds N] [WAY]…

WAY is a value of `image.compression`. Each round boots every way once more (twice each time, as
`edgeimg smoke` does), so that a change of the machine's load meets all of them. Nothing else
should run on the machine. Feeds docs/adr/0001-root-compression.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environment  # noqa: F401
from edgeimg.cache.store import default_root

PROJECT = Path(__file__).parents[2]
WAYS = ("lz4", "lz4hc,9", "zstd,3")
FIGURES = ("userland", "k3s", "http", "used", "peak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", default=WAYS)
    parser.add_argument("--arch", default="x86-64")
    parser.add_argument("--k3s", default="standin")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    seen: dict[tuple[str, int, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name:
        projects = {way: project(Path(name), way) for way in arguments.ways}
        for directory in projects.values():
            edgeimg(directory, "build", "--k3s", arguments.k3s, "--arch", arguments.arch)
        for _ in range(arguments.rounds):
            for way, directory in projects.items():
                (report,) = edgeimg(directory, "smoke", "--arch", arguments.arch)["reports"]
                for number, boot in enumerate(report["boots"], 1):
                    for figure, value in figures(boot).items():
                        seen.setdefault((way, number, figure), []).append(value)
    print("| compression | boot | userland s | K3s s | answer s | used MiB | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for way in arguments.ways:
        for number in (1, 2):
            cells = [f"{statistics.median(seen[way, number, figure]):.0f}" for figure in FIGURES]
            print(f"| {way} | {number} | {' | '.join(cells)} |")


def project(parent: Path, way: str) -> Path:
    """A copy of the default project whose root is compressed in another way."""
    directory = parent / way
    for folder in ("recipes", "overlays"):
        shutil.copytree(PROJECT / folder, directory / folder, symlinks=True)
    recipe = directory / "recipes/gateway.toml"
    text = recipe.read_text()
    before = "[image]\n"
    assert text.count(before) == 1
    assert "\ncompression" not in text
    recipe.write_text(text.replace(before, f'{before}compression = "{way}"\n'))
    return directory


def figures(boot: dict[str, Any]) -> dict[str, float]:
    """Seconds since power-on, or since the order to restart, and MiB of memory of one boot."""
    stages = {stage["name"]: stage["elapsed"] for stage in boot["stages"]}
    memory = boot["report"]["memory_kib"]
    return {
        **{name: stages[name] for name in ("userland", "k3s", "http")},
        "used": memory["used"] / 1024,
        "peak": memory["peak"] / 1024,
    }


def edgeimg(directory: Path, *arguments: str) -> Any:
    """Run the command line; its result."""
    done = subprocess.run(
        ["edgeimg", *arguments, "-q", "--json"], cwd=directory, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
