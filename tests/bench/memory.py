"""How much memory a gateway takes, and the least that it works with: servers and agents.

    python3 tests/bench/memory.py [--arch ARCH]… [--role ROLE]… [--minutes N]
        [--memory MIB] [--guess MIB] [--step MIB] [--k3s standin|PATH] [--port PORT] [--jobs N]
        [--json FILE]

Builds the default image, as it is and as an agent; boots each with the memory that is promised and
leaves it alone for N minutes (default: 10) with the pod of the smoke test and the default services.
Then looks for the smallest `-m`, in steps, that still passes, with one minute of rest.
Agents join a stand-in server that runs on this machine. Passing: the node is Ready, the pod
answers, before the rest and after it; most answers at rest take less than a second; no process
killed for memory, no failed unit, K3s not restarted, the pod not evicted; and with less memory than
promised it takes no more than SLOWER times as long until the pod answers. `--jobs` guests run at
once: memory does not mind, answers take longer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import environment  # noqa: F401
from edgeimg import process
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.build import debian_packages
from edgeimg.cache.store import Store, default_root
from edgeimg.lock.file import read_lock
from edgeimg.progress import Silent
from edgeimg.sources import standin
from edgeimg.tools import build_host
from edgeimg.vm.disk import raw_image

from tests import gateway
from tests.bench import cluster
from tests.bench.at_rest import Outcome, Setup, trial

PROMISED = {"server": 512, "agent": 256}
SLOWER = 3
LEAST = 96
"""MiB; no firmware gets as far as a kernel with less."""
RECIPES = {"server": "gateway", "agent": "agent"}
TOKEN = "edgeimg-bench"
AGENT = """\
include = ["gateway.toml"]

[image]
id = "agent"

[overlay]
paths = ["overlays/agent"]

[k3s]
role = "agent"

[arch.x86-64.image]
hostname = "agent-x86-64"

[arch.arm64.image]
hostname = "agent-arm64"

[arch.arm.image]
hostname = "agent-arm"
"""
HEADER = (
    "| | memory | used at rest | peak | left | in zram | answers in, median / 95 % | smallest |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no guest or server is left behind
    options = arguments()
    archs = [arch for arch in ARCHITECTURES if arch.name in options.arch]
    store = Store(default_root())
    with (
        tempfile.TemporaryDirectory(prefix="edgeimg-bench.", dir=default_root()) as name,
        agents_server(options, Path(name), store) as (key, tls),
    ):
        setups = [
            prepare(Path(name), arch, role, key, tls, options, store)
            for arch in archs
            for role in options.role
        ]
        rows = process.parallel(lambda setup: measure(setup, options), setups, jobs=options.jobs)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(HEADER)
    print("\n".join(str(row["line"]) for row in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [arch.name for arch in ARCHITECTURES]
    parser.add_argument("--arch", action="append", choices=names)
    parser.add_argument("--role", action="append", choices=PROMISED)
    parser.add_argument("--memory", type=int, help="MiB to begin with (default: what is promised)")
    parser.add_argument("--minutes", type=float, default=10, help="of rest at that size")
    parser.add_argument("--k3s", default="standin", help="standin, or a binary of K3s (servers)")
    parser.add_argument("--port", type=int, default=16443, help="of the agents' server, here")
    parser.add_argument("--jobs", type=int, default=1, help="guests at once")
    parser.add_argument("--guess", type=int, help="MiB from which to look for the smallest")
    parser.add_argument("--step", type=int, default=16, help="MiB from one size to the next")
    parser.add_argument("--no-search", action="store_true", help="only the promised size")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.arch, options.role = options.arch or names, options.role or list(PROMISED)
    return options


@contextmanager
def agents_server(
    options: argparse.Namespace, root: Path, store: Store
) -> Iterator[tuple[Path, Path | None]]:
    """Make the project in `root`; the key to log in with, and a running server's certificates."""
    key = gateway.project(root)
    shutil.copyfile(root / "recipes/gateway.lock.toml", root / "recipes/agent.lock.toml")
    (root / "recipes/agent.toml").write_text(AGENT)
    joins = root / "overlays/agent/etc/rancher/k3s/config.yaml.d"
    joins.mkdir(parents=True)
    url = f"https://{cluster.HOST}:{options.port}"
    (joins / "50-bench.yaml").write_text(f"server: {url}\ntoken: {TOKEN}\n")
    with ExitStack() as stack:
        tls = None
        if "agent" in options.role:
            k3s = standin.build(build_host(), store=store, progress=Silent())
            tls = stack.enter_context(cluster.server(k3s, root, port=options.port, token=TOKEN))
        yield key, tls


def prepare(
    root: Path, arch: Arch, role: str, key: Path, tls: Path | None,
    options: argparse.Namespace, store: Store,
) -> Setup:  # fmt: skip
    """Build the image of a role."""
    locked = read_lock(root / "recipes/gateway.lock.toml")
    recipe = f"recipes/{RECIPES[role]}.toml"
    return Setup(
        arch=arch,
        role=role,
        raw=raw_image(gateway.built(root, arch, "-r", recipe, k3s=options.k3s), store),
        key=key,
        toolbox=debian_packages.host_tools(locked, "qemu", store, offline=False, progress=Silent()),
        directory=root,
        tls=tls if role == "agent" else None,
        port=options.port,
    )


def measure(setup: Setup, options: argparse.Namespace) -> dict[str, object]:
    """One row: the promised size, and the smallest that passes."""
    promised = options.memory or PROMISED[setup.role]
    tried: dict[int, Outcome] = {}

    def passes(mib: int) -> bool:
        if mib == promised:
            found = trial(setup, mib, options.minutes)
        else:
            minutes = min(1.0, options.minutes)
            found = trial(setup, mib, minutes, SLOWER * tried[promised].seconds)
        tried[mib] = found
        told = f"passed after {found.seconds:.0f} s, {found.facts}, {found.latency} ms"
        print(
            f"{setup.arch.name} {setup.role} {mib} MiB: {found.failure or told}",
            file=sys.stderr,
            flush=True,
        )
        return not found.failure

    smallest = 0
    if passes(promised) and not options.no_search:
        facts = tried[promised].facts or {}
        needed = promised - (facts["total"] - facts["peak"]) // 1024 - 32
        smallest = search(passes, promised, options.guess or needed, options.step)
    return {
        "arch": setup.arch.name,
        "role": setup.role,
        "smallest_mib": smallest,
        "line": line(setup, tried[promised], smallest),
        "tried": [asdict(tried[mib]) for mib in sorted(tried)],
    }


def search(passes: Callable[[int], bool], known: int, guess: int, step: int) -> int:
    """The smallest multiple of `step` that passes, when `known` does: from the guess on in growing
    strides until one passes and one does not, then halving what is between them."""
    good, bad, stride, at = known, LEAST, step, guess
    while good - bad > step:
        at = min(max(at // step * step, bad + step), good - step)
        if passes(at):
            good = at
            at = at - stride if bad == LEAST else (good + bad) // 2
        else:
            bad = at
            at = at + stride if good == known else (good + bad) // 2
        stride *= 2
    return good


def line(setup: Setup, found: Outcome, smallest: int) -> str:
    """A row of the table."""
    name = f"| {setup.arch.name} {setup.role} | {found.mib} MiB"
    if found.failure or not found.facts:
        return f"{name} | failed: {found.failure} | | | | | |"
    facts = {key: f"{kib / 1024:.0f} MiB" for key, kib in found.facts.items()}
    left = f"{(found.facts['total'] - found.facts['used']) / 1024:.0f} MiB"
    least = f"{smallest} MiB" if smallest else "-"
    cells = (facts["used"], facts["peak"], left, facts["swapped"], f"{found.latency} ms", least)
    return f"{name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
