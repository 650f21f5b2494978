"""How long builds take, side by side in one run: fresh, with one file changed, with none changed.

    python3 tests/bench/build.py [--arch ARCH]... [--k3s standin|PATH]

Downloads and K3s are in the cache before the clock starts ("warm caches"). `fresh` has nothing
else; `changed` differs from the build before by one overlay file; `unchanged` by nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import environment  # noqa: F401
from edgeimg.cache.store import default_root

PROJECT = Path(__file__).parents[2]
ROUNDS = ("fresh", "changed", "unchanged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", action="append", help="default: all three")
    parser.add_argument("--k3s", default="standin")
    arguments = parser.parse_args()
    print(f"{'':8}" + "".join(f"{name:>12}" for name in ROUNDS) + "    download  root (MiB)")
    for arch in arguments.arch or ["x86-64", "arm64", "arm"]:
        build(PROJECT, arch, arguments.k3s, default_root())
        seconds, image = measure(arch, arguments.k3s)
        sizes = "".join(
            f"{image['sizes'][name] / (1 << 20):10.1f}" for name in ("download", "root")
        )
        print(f"{arch:8}" + "".join(f"{seconds[name]:10.1f} s" for name in ROUNDS) + f"  {sizes}")


def measure(arch: str, k3s: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds by round, and the last image."""
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name:
        cache, project = Path(name, "cache"), Path(name, "project")
        share(default_root(), cache)
        for folder in ("recipes", "overlays"):
            shutil.copytree(PROJECT / folder, project / folder, symlinks=True)
        seconds: dict[str, float] = {}
        for round_name in ROUNDS:
            if round_name == "changed":
                (project / "overlays/base/usr/lib/changed").write_text("one more file\n")
            began = time.monotonic()
            image = build(project, arch, k3s, cache)
            seconds[round_name] = time.monotonic() - began
        return seconds, image


def share(source: Path, cache: Path) -> None:
    """A cache with downloads, K3s and tools, but no unpacked package and nothing packed."""
    (cache / "derived").mkdir(parents=True)
    (cache / "blobs").symlink_to(source / "blobs")
    for path in (source / "derived").iterdir():
        is_tools = (path / "usr").is_dir()
        if (path.is_file() and path.read_bytes()[:4] == b"\x7fELF") or is_tools:
            (cache / "derived" / path.name).symlink_to(path)


def build(project: Path, arch: str, k3s: str, cache: Path) -> dict[str, Any]:
    """One build by the command line, as JSON."""
    done = subprocess.run(
        ["edgeimg", "build", "-q", "--json", "--arch", arch, "--k3s", k3s],
        cwd=project,
        env={**os.environ, "EDGEIMG_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)
    (image,) = json.loads(done.stdout)["images"]
    assert isinstance(image, dict)
    return image


if __name__ == "__main__":
    main()
