"""One disk becomes one gateway: ledger, image, disk, ledger, label."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import EdgeimgError
from builder.flash import job
from builder.flash.job import Outcome
from builder.flash.safety import Chosen
from builder.fleet import images, ledger
from builder.fleet.facts import ImageFacts
from builder.fleet.images import Base
from builder.fleet.ledger import Entry, Ledger, Read
from builder.fleet.match import Row, states
from builder.progress import Advance, Progress, Unit
from builder.store import Store
from builder.tools import Toolbox


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
    """Where it is, or why there is none."""


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
        return entry(shop.facts, chosen, row=row) if state == "open" else None

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
    shop.ledger.add(ended(begun, outcome))
    told = ""
    if outcome.ok and order.label:
        try:
            told = order.label()
        except EdgeimgError as error:  # the gateway is finished all the same
            told = f"no label: {error.message}"
    return Finished(gateway=order.row.name, outcome=outcome, label=told)


def ended(begun: Entry, outcome: Outcome) -> Entry:
    """The ledger's last line about it."""
    result: ledger.Result = "ok" if outcome.ok else "failed"
    if outcome.interrupted:
        result = "interrupted"
    said = {"time": ledger.now(), "result": result, "error": outcome.error}
    return begun.model_copy(update=said)


def entry(facts: ImageFacts, chosen: Chosen, *, row: Row | None = None) -> Entry:
    """A ledger's first line about the writing of a disk."""
    device = chosen.device
    return Entry(
        run=uuid.uuid4().hex,
        time=ledger.now(),
        result="started",
        gateway=row.name if row else "",
        device=str(chosen.given),
        serial=device.serial if device else "",
        model=device.model if device else "",
        image=facts.file,
        version=facts.version,
        arch=facts.arch,
        digest=facts.digest,
        root_hash=facts.root_hash,
        settings=row.settings if row else "",
        by=ledger.whoami(),
        process=os.getpid(),
    )


def _flash(
    shop: Workshop, order: Order, chosen: Chosen, progress: Progress, stop: threading.Event
) -> Outcome:
    try:
        # Gone when the block is left; what a killed process leaves there, the next one sweeps.
        with shop.store.work("fleet") as directory:
            made = images.make(
                shop.base, order.files, directory, order.row.name, toolbox=shop.toolbox
            )
            return job.flash_one(
                made.raw, made.blocks, chosen, logs=shop.logs, progress=progress, stop=stop
            )
    except EdgeimgError as error:
        return Outcome(
            device=str(chosen.given), ok=False, error=error.message, hint=error.hint or ""
        )


class _Named:
    """Progress whose bars say which gateway they are about."""

    def __init__(self, inner: Progress, prefix: str) -> None:
        self._inner, self._prefix = inner, prefix
        self.note, self.debug = inner.note, inner.debug

    @contextlib.contextmanager
    def task(self, label: Any, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:
        """A bar; a label that changes with the phase of the work stays one that does."""

        def told() -> str:
            return f"{self._prefix}{label() if callable(label) else label}"

        named: Any = told if callable(label) else told()
        with self._inner.task(named, total, unit) as advance:
            yield advance
