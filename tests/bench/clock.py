"""What keeping the time costs: systemd-timesyncd, and chrony in its container, in one guest each.

    python3 tests/bench/clock.py [--seconds N]

Builds the default image for x86-64 with the stand-in, without and with `services/chrony.toml`,
boots each with 512 MiB, and N seconds (default: 120) after the pod answers reads the memory of the
processes that keep the time from /proc/PID/smaps_rollup (proc_pid_smaps(5)): resident, the
proportional share of that, what is nobody else's, and what is swapped.
Feeds docs/adr/0008-timesyncd-unless-asked.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import environment  # noqa: F401
from edgeimg.arch import X86_64
from edgeimg.build import debian_packages
from edgeimg.cache.store import Store, default_root
from edgeimg.lock.file import read_lock
from edgeimg.progress import Silent
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.disk import raw_image

from tests.gateway import Gateway, booted, built, edgeimg, project

FIELDS = ("Rss", "Pss", "Pss_Anon", "SwapPss")
RECIPES = {
    "systemd-timesyncd": 'include = ["gateway.toml"]\n',
    "container-chrony": 'include = ["gateway.toml", "services/chrony.toml"]\n',
}
"""The unit that keeps the time, and the recipe that it is in."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="until a guest has settled")
    seconds = parser.parse_args().seconds
    store = Store(default_root())
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name:
        root = Path(name)
        key = project(root)
        locked = read_lock(root / "recipes/gateway.lock.toml")
        qemu = debian_packages.host_tools(locked, "qemu", store, offline=False, progress=Silent())
        rows = []
        for unit, recipe in RECIPES.items():
            path = root / f"recipes/{unit}.toml"
            path.write_text(f'{recipe}\n[image]\nid = "{unit}"\n')
            edgeimg(root, "lock", "-r", path, "--accept-unsigned-index", "arm")
            raw = raw_image(built(root, X86_64, "-r", path), store)
            console = root / f"{unit}.log"
            with booted(
                raw, key, toolbox=qemu, console=console, options=GuestOptions(cpus=2)
            ) as gateway:
                gateway.until("systemctl is-active edgeimg-healthy.service", 900)
                time.sleep(seconds)
                rows += measure(gateway, unit)
    print(f"KiB | {' | '.join(FIELDS)}\n---|{'|'.join('---:' for _ in FIELDS)}")
    for process, values in rows:
        print(f"{process} | {' | '.join(f'{value:,}' for value in values)}")


def measure(gateway: Gateway, unit: str) -> Iterator[tuple[str, list[int]]]:
    """Each process of a unit, and the FIELDS of it in KiB."""
    listed = f"/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs"
    for pid in gateway.run(f"cat {listed}").split():
        name, *lines = gateway.run(f"cat /proc/{pid}/comm /proc/{pid}/smaps_rollup").splitlines()
        facts = {line.partition(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
        yield f"{unit}: {name}", [int(facts[field]) for field in FIELDS]


if __name__ == "__main__":
    main()
