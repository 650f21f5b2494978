"""What a second processor does to emulated guests: time to the pod's answer, side by side.

    python3 tests/bench/processors.py [--arch ARCH] [--k3s standin|PATH] [--guests N]
        [--rounds N]

Boots the default image twice in each of N guests at once (default: as many as there are
processors here), with one processor each and with two. Nothing else should run on the machine.
Why the tests' guests have one: tests/gateway.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environment  # noqa: F401
from edgeimg.arch import find_arch
from edgeimg.build import debian_packages
from edgeimg.cache.store import Store, default_root
from edgeimg.lock.file import read_lock
from edgeimg.progress import Silent
from edgeimg.smoke.boots import Trial, boot_twice
from edgeimg.vm import accel
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.disk import raw_image

from tests.gateway import PROJECT, built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="x86-64")
    parser.add_argument("--k3s", default="standin")
    parser.add_argument("--guests", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    arch, store = find_arch(options.arch), Store(default_root())
    locked = read_lock(PROJECT / "recipes/gateway.lock.toml")
    toolbox = debian_packages.host_tools(locked, "qemu", store, offline=False, progress=Silent())
    seen: dict[tuple[int, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name:
        image = built(PROJECT, arch, "-o", Path(name, "out"), k3s=options.k3s)
        raw = raw_image(image, store)

        def boot(cpus: int, guest: int) -> None:
            trial = Trial(
                arch=arch, raw=raw, accel=accel.tcg(arch, "a benchmark"),
                options=GuestOptions(cpus=cpus), seconds=arch.qemu.boot_seconds,
                directory=Path(name, f"guest-{guest}"),
                toolbox=toolbox,
            )  # fmt: skip
            trial.directory.mkdir(exist_ok=True)
            for number, done in enumerate(boot_twice(trial, Silent())[0], 1):
                assert not done.problem, done.problem
                stages = {stage.name: stage.elapsed for stage in done.stages}
                seen.setdefault((cpus, number), []).append(stages["http"])

        for _ in range(options.rounds):
            for cpus in (1, 2):
                with ThreadPoolExecutor(options.guests) as pool:
                    list(pool.map(boot, [cpus] * options.guests, range(options.guests)))
    print(f"| {arch.name}: processors of each of {options.guests} | first boot s | restart s |")
    print("|---|---:|---:|")
    for cpus in (1, 2):
        cells = [
            f"{statistics.median(seen[cpus, number]):.0f}"
            f" ({min(seen[cpus, number]):.0f} to {max(seen[cpus, number]):.0f})"
            for number in (1, 2)
        ]
        print(f"| {cpus} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
