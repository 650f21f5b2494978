"""Makes tests/data/hardware/modules.json: of Debian's kernels, what claims the machines there.

Run by hand after a new machine: `python -m tests.hardware_modules`. The integration test compares
the file with the lock's kernel of x86-64.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edgeimg.cache.store import Store, default_root
from edgeimg.compose import kernel_deb
from edgeimg.hardware import drivers, known, reading
from edgeimg.hardware.aliases import Aliases
from edgeimg.hardware.drivers import Driver, Drivers
from edgeimg.hardware.machine import Machine
from edgeimg.lock import file
from edgeimg.sources import deb

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / "tests/data/hardware"
PROBES = DATA / "probes"
FILE = DATA / "modules.json"
FIRMWARE = 12
"""Files of a module's list that are kept."""


def machines() -> dict[str, Machine]:
    """The machines of tests/data/hardware by name. Composed by hand of public ids: no dumps."""
    return {path.stem: reading.read(path) for path in sorted(DATA.glob("*.txt"))}


def probes() -> dict[str, Machine]:
    """Real machines by name: the PCI ids of public probes of hw-probe, as modalias lines."""
    return {path.stem: reading.read(path) for path in sorted(PROBES.glob("*.txt"))}


def title(name: str) -> str:
    """Maker and model of a probe."""
    first, _, _ = (PROBES / f"{name}.txt").read_text().partition(":")
    return first.removeprefix("# ")


def described() -> tuple[Machine, ...]:
    """Whose devices are in modules.json."""
    return (*machines().values(), *probes().values())


def extract(found: Drivers, every: Iterable[Machine]) -> dict[str, dict[str, object]]:
    """The modules that claim the devices, and what those depend on, by path."""
    devices = [device for machine in every for device in machine.devices]
    named = {name for one in devices for name in found.claims.modules(one.modalias)}
    named |= {name for one in devices for name in one.modules} & found.modules.keys()
    waiting = [*named, *(name for name in known.companions(named) if name in found.modules)]
    kept: dict[str, Driver] = {}
    while waiting:
        name = waiting.pop()
        if name not in kept and name in found.modules:
            kept[name] = found.modules[name]
            waiting += kept[name].depends
    matcher = Aliases((alias, alias) for one in kept.values() for alias in one.aliases)
    fitting = {alias for one in {x.modalias for x in devices} for alias in matcher.modules(one)}
    return {
        one.path: {
            "depends": ",".join(one.depends),
            "alias": [
                alias for alias in one.aliases if alias in fitting
            ],
            "firmware": list(one.firmware[:FIRMWARE]),
        }
        for one in sorted(kept.values(), key=lambda one: one.path)
    }  # fmt: skip


def of_lock(arch: str, store: Store) -> Drivers:
    """The modules of the lock's kernel package, which is in `store`."""
    lock = file.read_lock(PROJECT / "recipes/gateway.lock.toml")
    package = lock.images[arch].groups["kernel"][0]
    kernel = kernel_deb.from_deb(deb.read_blob(package, blobs=store, store=store))
    return drivers.of_kernel(kernel, store)


if __name__ == "__main__":
    every = described()
    store = Store(default_root())
    made = {arch: extract(of_lock(arch, store), every) for arch in ("arm", "arm64", "x86-64")}
    FILE.write_text(json.dumps(made, indent=0, sort_keys=True) + "\n")
