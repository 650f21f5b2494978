"""What the ledger says about the writing of one disk: before, and after."""

from __future__ import annotations

import os
import uuid

from edgeimg.flash.job import Outcome
from edgeimg.flash.safety import Chosen
from edgeimg.fleet import ledger
from edgeimg.fleet.facts import ImageFacts
from edgeimg.fleet.ledger import Entry
from edgeimg.fleet.match import Row


def begun(facts: ImageFacts, chosen: Chosen, *, row: Row | None = None) -> Entry:
    """A ledger's first line about the writing of a disk."""
    device = chosen.device
    return Entry(
        run=uuid.uuid4().hex,
        time=ledger.now(),
        result="started",
        gateway=row.name if row else "",
        device=str(chosen.argument),
        serial=device.serial if device else "",
        model=device.model if device else "",
        sector=chosen.sector,
        image=facts.file,
        version=facts.version,
        arch=facts.arch,
        digest=facts.digest,
        root_hash=facts.root_hash,
        settings=row.settings if row else "",
        by=ledger.whoami(),
        process=os.getpid(),
    )


def ended(first: Entry, outcome: Outcome) -> Entry:
    """The ledger's last line about it."""
    result: ledger.Result = "ok" if outcome.ok else "failed"
    if outcome.interrupted:
        result = "interrupted"
    update = {"time": ledger.now(), "result": result, "error": outcome.error}
    return first.model_copy(update=update)
