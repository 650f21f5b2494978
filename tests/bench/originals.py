"""edgeimg's own module index and unit marks beside depmod and systemd-analyze: seconds and results.

    python3 tests/bench/originals.py [ARCH]…

Takes the packages of the default recipe from the cache; fetches what is missing. The originals are
those of the image's packages for this host's architecture.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import environment  # noqa: F401
from edgeimg import process, tools
from edgeimg.arch import Arch, find_arch
from edgeimg.cache.store import Store, default_root
from edgeimg.check import units
from edgeimg.check.unit_files import services
from edgeimg.compose import dpkg_root, rootfs
from edgeimg.lock.file import read_lock
from edgeimg.tree import Tree, symlink

from tests.integration.test_compose import RECIPE, SOURCE, Inputs

T = TypeVar("T")
MARKS = re.compile(r"level for (\S+): ([\d.]+)")


def main() -> None:
    """Print a comparison for each architecture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archs", nargs="*", metavar="ARCH", default=("x86-64", "arm64", "arm"))
    names = parser.parse_args().archs
    inputs = Inputs(Store(default_root()), read_lock(SOURCE.lock_path))
    with tempfile.TemporaryDirectory() as scratch:
        host = Path(scratch, "host")
        merged = dpkg_root.merge([found for _, found in inputs.group(tools.build_host(), "root")])
        merged.extract(host)
        for name in names:
            arch = find_arch(name)
            modules(inputs, arch, host, Path(scratch, name))
            marks(inputs, arch, host, Path(scratch, f"{name}-units"))


def original(host: Path, program: str, *arguments: str | Path) -> str:
    """Run a program of the host's packages, with their libraries."""
    arch = tools.build_host()
    libraries = host / f"usr/lib/{arch.triplet}"
    path = next(p for d in ("usr/bin", "usr/sbin") if (p := host / d / program).exists())
    argv = [libraries / arch.loader.rpartition("/")[2], "--library-path",
            f"{libraries}:{libraries}/systemd", "--argv0", program, path.resolve()]  # fmt: skip
    return process.run([*argv, *arguments], timeout=300, name=program).decode()


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds and result."""
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def modules(inputs: Inputs, arch: Arch, host: Path, scratch: Path) -> None:
    """Selecting modules and writing their index, and depmod on the same selection."""
    image = inputs.kernel(arch)
    fresh = Store(scratch.with_name(f"{arch.name}-cache"))
    own, tree = timed(lambda: rootfs.root_modules(RECIPE.for_arch(arch), image, fresh))
    extracting, _ = timed(lambda: tree.with_nodes({"lib": symlink("usr/lib")}).extract(scratch))
    directory = scratch / image.directory
    generated = {path.name: path.read_bytes() for path in directory.glob("modules.*")}
    for name in generated.keys() - {"modules.builtin", "modules.builtin.modinfo", "modules.order"}:
        (directory / name).unlink()
    theirs, _ = timed(lambda: original(host, "depmod", "-b", scratch, image.version))
    after = {path.name: path.read_bytes() for path in directory.glob("modules.*")}
    different = sorted(
        n for n in generated.keys() | after.keys() if generated.get(n) != after.get(n)
    )
    names = ", ".join(different) or "none"
    print(f"{arch.name}: own selection and index {own:.2f} s; depmod {theirs:.2f} s after "
          f"{extracting:.2f} s of extracting; files that differ: {names}")  # fmt: skip


def marks(inputs: Inputs, arch: Arch, host: Path, scratch: Path) -> None:
    """The marks of all services of the root."""
    root: Tree = inputs.root(arch)
    own, mine = timed(
        lambda: {u.name: units.exposure(u) for u in services(root) if "@" not in u.name}
    )
    small = root.without(lambda path, _: path.startswith("usr/lib/modules"))
    extracting, _ = timed(lambda: small.extract(scratch))
    theirs, text = timed(
        lambda: original(host, "systemd-analyze", "security", "--offline=yes",
                         f"--root={scratch}", "--no-pager", *mine)
    )  # fmt: skip
    found = {name: float(mark) for name, mark in MARKS.findall(text)}
    apart = [name for name, mark in found.items() if abs(mine[name] - mark) > 0.05]
    poor = [{n for n, mark in side.items() if mark >= units.POOR} for side in (mine, found)]
    print(f"{arch.name}: {len(mine)} marks, own {own:.2f} s; systemd-analyze {theirs:.2f} s after "
          f"{extracting:.2f} s of extracting; {len(apart)} marks differ, findings differ: "
          f"{', '.join(sorted(poor[0] ^ poor[1])) or 'none'}")  # fmt: skip


if __name__ == "__main__":
    main()
