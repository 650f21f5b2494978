"""What the root's compression costs and saves: build time, slot, download.

    python3 tests/bench/compression.py ROOT [--only WORD]… [--level N]…

ROOT is a canonical tar of a root file system, or a directory. Prints one Markdown row for each
way of making the file system: seconds (of processor time) and bytes of mkfs.erofs, then of the
whole compressed once more, as it is for the download. Feeds docs/adr/0001-root-compression.md;
boot time and memory are measured by `edgeimg smoke` with `image.compression` set.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import environment  # noqa: F401
from edgeimg import tools
from edgeimg.cache.store import Store, default_root
from edgeimg.lock.file import read_lock
from edgeimg.tools import Toolbox
from edgeimg.tree import overlay

PROJECT = Path(__file__).resolve().parents[2]
EXTRA = "ztailpacking"
WAYS: tuple[tuple[str, str, str], ...] = (
    # compression, largest cluster, extended options
    ("none", "", ""),
    ("lz4", "65536", EXTRA),
    ("lz4", "65536", f"{EXTRA},dedupe"),
    ("lz4hc,level=6", "65536", EXTRA),
    ("lz4hc,level=9", "16384", EXTRA),
    ("lz4hc,level=9", "65536", EXTRA),
    ("lz4hc,level=9", "65536", f"{EXTRA},fragments"),
    ("lz4hc,level=9", "65536", f"{EXTRA},dedupe"),
    ("lz4hc,level=9", "65536", f"{EXTRA},fragments,dedupe"),
    ("lz4hc,level=9", "1048576", EXTRA),
    ("lz4hc,level=12", "65536", EXTRA),
    ("deflate,level=6", "65536", EXTRA),
    ("libdeflate,level=6", "65536", EXTRA),
    ("zstd,level=1", "65536", EXTRA),
    ("zstd,level=3", "16384", EXTRA),
    ("zstd,level=3", "65536", EXTRA),
    ("zstd,level=3", "131072", EXTRA),
    ("zstd,level=6", "65536", EXTRA),
    ("zstd,level=9", "65536", EXTRA),
    ("zstd,level=12", "65536", EXTRA),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("root", type=Path)
    arguments.add_argument("--only", action="append", default=[])
    arguments.add_argument("--level", action="append", type=int, default=[])
    chosen = arguments.parse_args()
    toolbox = tools.prepare(
        read_lock(PROJECT / "recipes/gateway.lock.toml"),
        "pack",
        Store(default_root()),
        host=tools.build_host(),
    )
    levels = chosen.level or [9]
    print("| compression | cluster | options | mkfs s | root MiB |", end="")
    print("".join(f" zstd -{level} s | download MiB |" for level in levels))
    print("|---|---:|---|---:|---:|" + "---:|---:|" * len(levels), flush=True)
    with tempfile.TemporaryDirectory() as name:
        tar = as_tar(chosen.root, Path(name))
        for way in WAYS:
            if not chosen.only or any(word in " ".join(way) for word in chosen.only):
                measure(toolbox, tar, way, levels, Path(name))


def as_tar(root: Path, work: Path) -> Path:
    if root.is_file():
        return root
    with (work / "root.tar").open("wb") as output:
        overlay.from_directory(root, origin="bench").write_tar(output, mtime=0)
    return work / "root.tar"


def measure(
    toolbox: Toolbox, tar: Path, way: tuple[str, str, str], levels: list[int], work: Path
) -> None:
    compression, cluster, options = way
    image, packed = work / "root.erofs", work / "root.zst"
    arguments = ["--quiet", "-b4096", "--tar=f", "-T0", "--workers=2"]
    if compression != "none":
        arguments += [f"-z{compression}", f"-C{cluster}", f"-E{options}"]
    image.unlink(missing_ok=True)
    took = timed(lambda: toolbox.run("mkfs.erofs", *arguments, image, tar, timeout=3600))
    row = f"| {compression} | {cluster} | {options} | {took} | {mib(image):.1f} |"
    for level in levels:
        argv = [f"-{level}", "--long=27", "-T2", "-qf", "-o", packed, image]
        took = timed(lambda argv=argv: toolbox.run("zstd", *argv, timeout=3600))
        row += f" {took} | {mib(packed):.1f} |"
    print(row, flush=True)


def timed(work: Callable[[], object]) -> str:
    """Seconds by the clock, and of processor time: on a busy machine only those compare."""
    began, used = time.monotonic(), cpu()
    work()
    return f"{time.monotonic() - began:.1f} ({cpu() - used:.1f})"


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def mib(path: Path) -> float:
    return path.stat().st_size / (1 << 20)


if __name__ == "__main__":
    sys.exit(main())
