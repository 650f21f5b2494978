"""One disk becomes one gateway: ledger, image, disk, ledger, label."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeimg.cache.store import Store
from edgeimg.errors import EdgeimgError
from edgeimg.flash import job, sectors
from edgeimg.flash.ahead import StoppedError
from edgeimg.flash.job import Outcome
from edgeimg.flash.safety import Chosen
from edgeimg.flash.sectors import SectorImage
from edgeimg.fleet import entries, images
from edgeimg.fleet.facts import ImageFacts
from edgeimg.fleet.images import Base
from edgeimg.fleet.ledger import Entry, Ledger, Read
from edgeimg.fleet.match import Row, states
from edgeimg.progress import Advance, Label, Progress, Unit
from edgeimg.tools import Toolbox


@dataclass(frozen=True, kw_only=True)
class Order:
    """A gateway to be written."""

    row: Row
    files: Mapping[str, bytes] = field(repr=False)
    """For its config partition; secrets are among them."""
    label: Callable[[], str] | None = None
    """Prints its label, and says what became of it."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How it went."""

    gateway: str
    outcome: Outcome
    label: str = ""
    """The path of the label, or why it was not printed."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What is the same for all disks of a fleet."""

    base: Base
    facts: ImageFacts
    ledger: Ledger
    store: Store
    toolbox: Toolbox
    logs: Path | None


def begin(shop: Workshop, row: Row, chosen: Chosen, again: Sequence[str]) -> Entry | None:
    """Write into the ledger that a disk becomes this gateway; None when somebody else was quicker.

    Raises HostError when the ledger cannot be written.
    """

    def claim(read: Read) -> Entry | None:
        state = states([row], read, digest=shop.facts.digest, again=again)[row.name].state
        return entries.begun(shop.facts, chosen, row=row) if state == "open" else None

    return shop.ledger.claim(claim)


def write(
    shop: Workshop,
    order: Order,
    chosen: Chosen,
    begun: Entry,
    *,
    progress: Progress,
    stop: threading.Event,
) -> Finished:
    """Flash a disk with the image of a gateway, and write into the ledger how that went.

    What goes wrong with the disk is in the outcome. Raises HostError when the ledger cannot be
    written.
    """
    outcome = _flash(shop, order, chosen, _Named(progress, f"{order.row.name} → "), stop)
    shop.ledger.add(entries.ended(begun, outcome))
    label = ""
    if outcome.ok and order.label:
        try:
            label = order.label()
        except (EdgeimgError, OSError) as error:  # the gateway is finished all the same
            label = f"no label: {job.expected(error).message}"
    return Finished(gateway=order.row.name, outcome=outcome, label=label)


def _flash(
    shop: Workshop, order: Order, chosen: Chosen, progress: Progress, stop: threading.Event
) -> Outcome:
    try:
        # Gone when the block is left; what a killed process leaves there, the next one sweeps.
        with shop.store.work("fleet") as directory:
            image_file = images.make(
                shop.base, order.files, directory, order.row.name, toolbox=shop.toolbox
            )
            image = SectorImage(path=image_file.raw, blocks=image_file.blocks)
            if chosen.sector != image.sector and not stop.is_set():
                image = sectors.lay_out(
                    image_file.raw,
                    image_file.blocks,
                    directory,
                    sector=chosen.sector,
                    toolbox=shop.toolbox,
                )
                image_file.raw.unlink()
            if stop.is_set():
                raise StoppedError("interrupted before anything was written")
            return job.flash_one(image, chosen, logs=shop.logs, progress=progress, stop=stop)
    except (EdgeimgError, OSError) as caught:
        error = job.expected(caught)
        return Outcome(
            device=str(chosen.argument), ok=False, error=error.message, hint=error.hint or "",
            sector=chosen.sector, interrupted=isinstance(error, StoppedError),
        )  # fmt: skip


class _Named:
    """Progress whose bars say which gateway they are about."""

    def __init__(self, inner: Progress, prefix: str) -> None:
        self._inner, self._prefix = inner, prefix
        self.note, self.debug = inner.note, inner.debug

    @contextlib.contextmanager
    def task(self, label: Label, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:
        def named() -> str:
            return self._prefix + (label if isinstance(label, str) else label())

        with self._inner.task(named, total, unit) as advance:
            yield advance
