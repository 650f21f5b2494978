"""How long the checks take, and each of them.

    python3 tests/bench/check.py [ARCH]…

Takes the default recipe with the stand-in from the cache (build once with `--k3s standin`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import environment  # noqa: F401
from edgeimg.arch import find_arch
from edgeimg.build import inputs, plan, stages
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.cache.store import Store, default_root
from edgeimg.check import elf, hardening, modes, secrets, sysctl, units
from edgeimg.progress import Silent
from edgeimg.recipe.file import load

CHECKS = (elf, hardening, modes, secrets, sysctl, units)


def main() -> None:
    """Print seconds of processor time by check and architecture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archs", nargs="*", metavar="ARCH", default=("x86-64", "arm64", "arm"))
    source = load(Path(__file__).parents[2] / "recipes/gateway.toml")
    store = Store(default_root())
    for name in parser.parse_args().archs:
        arch = find_arch(name)
        options = BuildOptions(output=Path(), k3s=K3sChoice(source="standin"), offline=True)
        planned = plan.plan_build(source, arch, options)
        k3s = inputs.get_k3s(planned, store, Silent())
        composed = stages.compose(planned, inputs.unpack(planned, {}, store, Silent()), k3s, store)
        root = composed.root
        began = time.process_time()
        found = stages.check(composed, {}).findings
        total = time.process_time() - began
        print(f"{name}: {len(root)} files, {root.size() >> 20} MiB, {len(found)} findings: "
              f"{total:.1f} s")  # fmt: skip
        for check in CHECKS:
            began = time.process_time()
            _ = check.check(root, arch) if check is elf else check.check(root)  # type: ignore[attr-defined]
            print(f"  {check.__name__.rpartition('.')[2]:<10} {time.process_time() - began:.2f} s")


if __name__ == "__main__":
    main()
