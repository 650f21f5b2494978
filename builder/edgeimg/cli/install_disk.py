"""Writes the disk of an installation with the code of `edgeimg flash` and `edgeimg fleet flash`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from edgeimg.cli import flashing, fleet_disks
from edgeimg.cli.app import App
from edgeimg.errors import FlashError, HostError
from edgeimg.flash import safety
from edgeimg.flash.job import Outcome
from edgeimg.flash.safety import Chosen
from edgeimg.fleet import writing
from edgeimg.fleet.labels import Style
from edgeimg.fleet.ledger import Ledger
from edgeimg.fleet.writing import Order, Workshop
from edgeimg.image import blockmap
from edgeimg.install.plan import Plan
from edgeimg.install.rules import Rules


@contextlib.contextmanager
def prepared(app: App, plan: Plan, rules: Rules, ledger: Ledger) -> Iterator[Callable[[], Outcome]]:
    """All that needs the network, programs or room for files; what it yields writes the disk.

    So a countdown ends with a written disk, not with a message. Raises HostError when the disk or
    the ledger cannot be written, or when the disk is another one than planned.
    """
    chosen = _chosen(plan)
    if rules.logs:
        rules.logs.mkdir(parents=True, exist_ok=True)
    ledger.claim(lambda _: None)
    if plan.row is None:
        blocks = blockmap.read(blockmap.beside(plan.image))
        with flashing.laid_out(app, plan.image, blocks, [chosen]) as large:

            def write() -> Outcome:
                (outcome,) = flashing.write(
                    app, plan.image, blocks, [chosen], large, logs=rules.logs, book=ledger
                )
                return outcome

            yield write
        return
    shop = fleet_disks.workshop(app, plan.image, rules.key, ledger, rules.logs)
    app.store.sweep()
    order = fleet_disks.order(plan.row.gateway, shop, Style(), None, None, None)
    yield lambda: _write_gateway(app, shop, order, chosen)


def _chosen(plan: Plan) -> Chosen:
    chosen = safety.choose(Path(plan.disk.device.path), plan.size, fixed=True)
    if chosen.device is None or chosen.identity != plan.disk.identity:
        raise HostError(f"{chosen.argument} is another disk than the one that was shown")
    return chosen


def _write_gateway(app: App, shop: Workshop, order: Order, chosen: Chosen) -> Outcome:
    begun = writing.begin(shop, order.row, chosen, [order.row.name])
    if begun is None:
        raise FlashError(f"{order.row.name} is being flashed by another process")
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(writing.write, shop, order, chosen, begun, progress=app.ui, stop=stop)
        try:
            while not wait([future], timeout=0.5).done:  # in steps: an interrupt is seen
                pass
        except KeyboardInterrupt:
            stop.set()
    return future.result().outcome
