"""What stands by for a container: containerd's shim, or crun below systemd. In one guest.

    python3 tests/bench/services.py [--containers N]

Builds the default image for x86-64 with the stand-in and a key to log in with, boots it with
512 MiB, runs the same small container N times each way, and reads the memory of the processes that
are there for it alone from /proc/PID/smaps_rollup: resident, its proportional share, and what is
nobody else's. Feeds docs/adr/0006-services-without-shim.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import environment  # noqa: F401
from edgeimg.arch import X86_64
from edgeimg.build import debian_packages
from edgeimg.cache.store import Store, default_root
from edgeimg.lock.file import read_lock
from edgeimg.progress import Silent
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.disk import raw_image

from tests.gateway import Gateway, booted, built, project

FIELDS = ("Rss", "Pss", "Pss_Anon")
CTR = "/usr/lib/k3s/current/bin/ctr -n system"
BUNDLE = "/usr/lib/edgeimg/services/health"
START = {
    "containerd-shim": f"{CTR} run -d --rootfs --read-only --runtime io.containerd.runc.v2 "
    f"--runc-binary /usr/bin/crun {BUNDLE}/rootfs {{name}} /usr/bin/busybox sleep 100000",
    "crun": "mkdir -p /run/{name} && ln -sfn "
    f'{BUNDLE}/rootfs /run/{{name}}/rootfs && sed \'s/"9080"/"908{{number}}"/\' '
    f"{BUNDLE}/config.json > /run/{{name}}/config.json && systemd-run --quiet --unit={{name}} "
    "crun --cgroup-manager=disabled run --bundle=/run/{name} {name}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--containers", type=int, default=3)
    count = parser.parse_args().containers
    store = Store(default_root())
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name:
        root = Path(name)
        key = project(root)
        raw = raw_image(built(root, X86_64), store)
        locked = read_lock(root / "recipes/gateway.lock.toml")
        qemu = debian_packages.host_tools(locked, "qemu", store, offline=False, progress=Silent())
        with booted(
            raw,
            key,
            toolbox=qemu,
            console=root / "console.log",
            options=GuestOptions(cpus=2),
        ) as gateway:
            gateway.until("systemctl is-active containerd.service")
            rows = {way: measure(gateway, way, count) for way in START}
    print(f"KiB for each of {count} containers, mean")
    print(f"| | {' | '.join(FIELDS)} |\n|---|---:|---:|---:|")
    for way, values in rows.items():
        print(f"| {way} | {' | '.join(f'{value:,.0f}' for value in values)} |")


def measure(gateway: Gateway, way: str, count: int) -> list[float]:
    """KiB of what is started for one container: mean of the new processes of that name."""
    before = processes(gateway, way)
    for number in range(1, count + 1):
        gateway.run(START[way].format(name=f"bench{number}", number=number))
    gateway.run("sleep 5")
    new = {pid: values for pid, values in processes(gateway, way).items() if pid not in before}
    assert len(new) == count, f"{way}: {len(new)} processes for {count} containers"
    if way == "containerd-shim":
        for number in range(1, count + 1):
            gateway.run(f"{CTR} t kill -s KILL bench{number}; sleep 1; {CTR} c rm bench{number}")
    return [sum(values[at] for values in new.values()) / count for at in range(len(FIELDS))]


def processes(gateway: Gateway, name: str) -> dict[int, list[int]]:
    """Memory in KiB, as FIELDS, of the processes whose name begins with `name`, by number."""
    told = gateway.run(
        f"for p in /proc/[0-9]*; do read -r comm < $p/comm && case $comm in {name}*) "
        "echo ${p#/proc/} $(grep -E '^(Rss|Pss|Pss_Anon):' $p/smaps_rollup | tr -dc '0-9 \\n');; "
        "esac; done 2> /dev/null; true"
    )
    rows = (line.split() for line in told.splitlines())
    return {int(pid): [int(value) for value in values] for pid, *values in rows}


if __name__ == "__main__":
    main()
