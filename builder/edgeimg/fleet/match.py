"""Which disk becomes which gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeimg.fleet.ledger import Entry, Read, is_running

State = Literal["open", "busy", "done"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What of a gateway decides about its disk."""

    name: str
    disk_serial: str = ""
    settings: str = ""
    """Digest of its settings."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a gateway is."""

    state: State
    last: Entry | None = None


@dataclass(frozen=True, kw_only=True)
class Match:
    """A disk and the gateway that it becomes, if any."""

    row: Row | None = None
    sure: bool = False
    """The disk's serial number says so; otherwise somebody has to."""
    reason: str = ""
    """Why there is no gateway for it."""


def states(
    rows: Sequence[Row], read: Read, *, digest: str, again: Sequence[str] = ()
) -> dict[str, Progress]:
    """How far each gateway is, by the ledger.

    Done is one whose last disk was finished with this image and with these settings; `again` names
    those that are to be flashed whatever was before.
    """
    found = {}
    for row in rows:
        last = read.last(row.name)
        state: State = "open"
        if last is not None and is_running(last):
            state = "busy"
        elif row.name not in again and last is not None and last.result == "ok":
            state = "done" if (last.digest, last.settings) == (digest, row.settings) else "open"
        found[row.name] = Progress(state=state, last=last)
    return found


def match(
    rows: Sequence[Row], progress: Mapping[str, Progress], *, serial: str, holds: str = ""
) -> Match:
    """The gateway for a disk with this serial number.

    `holds` is the gateway that the disk was made for, as it says itself. A row with a serial number
    never gets another disk; the others are taken in their order.
    """
    for row in rows:
        if serial and row.disk_serial == serial:
            state = progress[row.name].state
            if state == "open":
                return Match(row=row, sure=True)
            return Match(reason=f"it is {row.name}'s, which {_told(progress[row.name])}")
    if holds in progress and progress[holds].state == "done":
        return Match(reason=f"it holds {holds}, which {_told(progress[holds])}")
    free = next(
        (row for row in rows if not row.disk_serial and progress[row.name].state == "open"), None
    )
    if free is not None:
        return Match(row=free)
    if all(progress[row.name].state != "open" for row in rows):
        return Match(reason="no gateway is left for it")
    own = f"its serial number {serial} is not in the file" if serial else "it has none"
    return Match(reason=f"the gateways that are left ask for serial numbers, and {own}")


def _told(progress: Progress) -> str:
    last = progress.last
    if progress.state == "busy" or last is None:
        return "is being flashed"
    return (
        f"was flashed at {last.time} by {last.by} (use --again {last.gateway} to do it once more)"
    )
