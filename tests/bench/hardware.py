"""The hardware coverage of the default image: public probes of real gateways and mini-PCs.

    python3 tests/bench/hardware.py [--detail | --cost MODULE…]

Prints the Markdown table of docs/reference/hardware.md: a row for each machine of
tests/data/hardware/probes, with what the image of recipes/gateway.toml has for its devices, and
what is missing once the printed lines are in the recipe. `--detail` prints each device without a
driver instead, `--cost` what modules would add to the default image.

The kernel package of recipes/gateway.lock.toml has to be in the cache: `edgeimg build` gets it.
"""

from __future__ import annotations

import argparse

import environment  # noqa: F401
from edgeimg.cache.store import Store, default_root

from tests import hardware_probes
from tests.hardware_modules import probes, title
from tests.hardware_probes import Images


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--detail", action="store_true")
    choice.add_argument("--cost", nargs="+", metavar="MODULE")
    options = parser.parse_args()
    images = Images(Store(default_root()))
    if options.cost:
        print(*hardware_probes.costs(images, options.cost), sep="\n")
    elif options.detail:
        for name, machine in probes().items():
            print(title(name))
            for row in images.cover(machine).rows:
                if row.state != "ok":
                    wanted = " ".join(row.wanted)
                    print(
                        f"  {row.device.place} {row.device.modalias} {row.state} {wanted}".rstrip()
                    )
    else:
        print(*hardware_probes.table(images), sep="\n")


if __name__ == "__main__":
    main()
