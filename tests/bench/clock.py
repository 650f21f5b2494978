"""What keeping the time costs: systemd-timesyncd, and chrony in its container, in one guest each.

    python tests/bench/clock.py KEY TIMESYNCD.raw.zst CHRONY.raw.zst

Images of a project made by tests/gateway.py, whose secret key is KEY. KiB of the processes that
keep running, from /proc/PID/smaps_rollup (proc_pid_smaps(5)).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from builder import lock, tools
from builder.store import Store, default_root
from builder.vm.disk import raw_image
from tests.gateway import Gateway, booted

FIELDS = ("Rss", "Pss", "Pss_Anon", "SwapPss")
SETTLE = 120
"""Seconds after which a guest has started everything."""


def main(key: Path, images: list[Path]) -> None:
    """Boot each image and print a table."""
    cache = Store(default_root())
    locked = lock.load(Path(__file__).parents[2] / "recipes/gateway.lock.toml")
    toolbox = tools.prepare(locked, "qemu", cache, host=tools.build_host())
    print(f"| | {' | '.join(FIELDS)} |\n|---|{'---:|' * len(FIELDS)}")
    for image in images:
        with tempfile.TemporaryDirectory() as work:
            console = Path(work) / "console.log"
            raw = raw_image(image, cache)
            with booted(raw, key, toolbox=toolbox, console=console) as gateway:
                time.sleep(SETTLE)
                for unit in ("systemd-timesyncd", "container-chrony"):
                    measure(gateway, unit)


def measure(gateway: Gateway, unit: str) -> None:
    """One row for each process of a unit, if it runs."""
    group = f"/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs"
    script = (
        f"for p in $(cat {group} 2> /dev/null); do cat /proc/$p/comm /proc/$p/smaps_rollup; done"
    )
    name, row = "", dict.fromkeys(FIELDS, "")
    for line in gateway.run(script).splitlines():
        key, _, value = line.partition(":")
        if not value:
            name = name if "[rollup]" in line else line
        elif key in row:
            row[key] = f"{int(value.split()[0]):,}"
        if key == FIELDS[-1]:  # the last of them in the file
            print(f"| {unit}: {name} | {' | '.join(row.values())} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
