"""The technician's bench: disks come and go, each becomes a gateway, several at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgeimg.errors import EdgeimgError, FlashError
from edgeimg.flash import devices, safety
from edgeimg.flash.devices import Device
from edgeimg.flash.safety import Chosen
from edgeimg.fleet import match
from edgeimg.fleet.match import Row
from edgeimg.fleet.writing import Finished, Order, Workshop, begin, write
from edgeimg.progress import Progress
from edgeimg.text.json_text import JsonObject

PAUSE = 1.0
"""Seconds between two looks at the disks."""
_MOST = 16
Key = tuple[str, str, str, str]


class Bench(Protocol):
    """Who stands at the bench."""

    def ask(self, chosen: Chosen, row: Row) -> bool:
        """Whether this disk is to become this gateway."""

    def passed(self, device: Device, reason: str) -> None:
        """A disk is not written to, and why."""

    def began(self, chosen: Chosen, row: Row) -> None:
        """A disk is being written."""

    def finished(self, done: Finished) -> None:
        """It is finished, or it failed."""

    def waiting(self, progress: Mapping[str, match.Progress]) -> None:
        """There is nothing to do until another disk comes."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be done."""

    orders: tuple[Order, ...]
    again: tuple[str, ...] = ()
    """Gateways that are to be flashed whatever the ledger says."""
    devices: tuple[Path, ...] = ()
    """Only disks by these names, also those that are there already; without any, disks that come,
    and those that a serial number names."""
    fixed: bool = False
    """Also disks that are not made to be taken out."""
    wait: bool = True
    """Go on until all gateways are done; else end when no disk that is there is left to do."""


@dataclass(kw_only=True)
class Station:
    """Looks at the disks again and again, and starts what there is to do."""

    shop: Workshop
    wanted: Wanted
    bench: Bench
    progress: Progress
    holds: Callable[[Path], str]
    """The gateway that a disk says it was made for, or nothing."""
    listing: Callable[[], JsonObject] = safety.lsblk
    rest: Callable[[], None] = lambda: time.sleep(PAUSE)
    """Between two looks."""
    done: list[Finished] = field(default_factory=list)
    _held: dict[Key, str] = field(default_factory=dict)
    _handled: dict[Key, str] = field(default_factory=dict)
    """Disks that need no second look while they stay, or why they were passed over last time."""
    _seen: dict[Key, Device] = field(default_factory=dict)
    """What was known of the disks at the last look. udev may tell their serial numbers late."""
    _before: set[Key] = field(default_factory=set)
    """Disks that were there when it began: nobody has put them in for this."""
    _running: dict[Key, Future[Finished]] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    """Gateways that a disk was begun for."""
    _used: set[Path] = field(default_factory=set)
    """Those of the named disks that one was begun on."""

    def run(self) -> list[Finished]:
        """Work until all gateways are done, and return how it went with each disk.

        Ctrl-C (KeyboardInterrupt) ends the disks that are being written: they are marked as
        unfinished, and the ledger has them. Raises HostError without lsblk.
        """
        stop = threading.Event()
        self._before = set(self._present()) if not self.wanted.devices else set()
        with ThreadPoolExecutor(max_workers=_MOST) as pool:
            try:
                while self._step(pool, stop):
                    self.rest()
            except BaseException:
                stop.set()
                wait(self._running.values())
                with contextlib.suppress(EdgeimgError):
                    self._collect()
                raise
        return self.done

    def unused(self) -> list[EdgeimgError]:
        """Where a gateway is left: the named disks that nothing was begun on, an error each."""
        if all(one.state != "open" for one in self._states().values()):
            return []
        return [self._why_not(path) for path in self.wanted.devices if path not in self._used]

    def _why_not(self, path: Path) -> EdgeimgError:
        try:
            chosen = self._chosen(path)
        except EdgeimgError as error:
            return error
        if chosen.device is None:
            return FlashError(f"{path} is no disk")
        reasons = {key[0]: reason for key, reason in self._handled.items()}
        reason = reasons.get(str(chosen.real)) or "it was not confirmed"
        return FlashError(f"{path} is skipped: {reason}")

    def _step(self, pool: ThreadPoolExecutor, stop: threading.Event) -> bool:
        """One look at everything; whether another is needed."""
        self._collect()
        present = self._present()
        for known in (self._handled, self._held):
            for key in set(known) - set(present):
                del known[key]  # taken out: should it come back, it is looked at again
        self._before &= set(present)
        settled = {key for key, device in present.items() if self._seen.get(key) == device}
        self._seen = present
        for key in [key for key in present if key in settled]:
            idle = key not in self._running and self._handled.get(key) != ""
            if idle and self._look(key, present[key], self._states(), pool, stop):
                return True
        progress = self._states()
        if self._running or len(settled) < len(present):
            return True
        if all(one.state == "done" for one in progress.values()) or not self.wanted.wait:
            return False
        self.bench.waiting(progress)
        return True

    def _look(
        self,
        key: Key,
        device: Device,
        progress: Mapping[str, match.Progress],
        pool: ThreadPoolExecutor,
        stop: threading.Event,
    ) -> bool:
        """Start what there is to do with a disk; whether all are to be looked at anew."""
        rows = [order.row for order in self.wanted.orders]
        if key not in self._held:
            looked_at = key not in self._before and not device.dangers
            self._held[key] = self.holds(Path(device.path)) if looked_at else ""
        found = match.match(rows, progress, serial=device.serial, holds=self._held[key])
        if key in self._before and not found.sure:
            return False
        if found.row is None:
            self._pass(key, device, found.reason)
            return False
        try:
            chosen = self._chosen(Path(device.path))
        except EdgeimgError as error:
            self._pass(key, device, error.message)
            return False
        # Another disk may go by this name since the last look: the row is that of the one before.
        if self._present().get(key) != device:
            return True
        asked = not found.sure
        self._handled[key] = ""
        if asked and not self.bench.ask(chosen, found.row):
            return True
        begun = begin(self.shop, found.row, chosen, self._again())
        if begun is None:  # another process has taken the gateway: this disk may have the next
            del self._handled[key]
            return asked
        self._begun.add(found.row.name)
        self._used |= {path for path in self.wanted.devices if path.resolve() == chosen.real}
        order = next(order for order in self.wanted.orders if order.row is found.row)
        self.bench.began(chosen, found.row)
        self._running[key] = pool.submit(
            write, self.shop, order, chosen, begun, progress=self.progress, stop=stop
        )
        return asked  # an answer takes its time, and disks come and go meanwhile

    def _pass(self, key: Key, device: Device, reason: str) -> None:
        if self._handled.get(key) != reason:
            self._handled[key] = reason
            self.bench.passed(device, reason)

    def _chosen(self, path: Path) -> Chosen:
        size, fixed = self.shop.base.blocks.image_size, self.wanted.fixed
        return safety.choose(path, size, fixed=fixed, listing=self.listing)

    def _states(self) -> dict[str, match.Progress]:
        rows = [order.row for order in self.wanted.orders]
        digest, again = self.shop.facts.digest, self._again()
        return match.states(rows, self.shop.ledger.read(), digest=digest, again=again)

    def _again(self) -> Sequence[str]:
        """Those to be flashed whatever was before; of those begun by now, the ledger tells."""
        return [name for name in self.wanted.again if name not in self._begun]

    def _present(self) -> dict[Key, Device]:
        """The disks with a medium that concern us; loop devices only where they are named."""
        named = {str(path.resolve()) for path in self.wanted.devices}
        return {
            _key(device): device
            for device in devices.disks(self.listing())
            if device.size
            and (device.path in named if named else not device.path.startswith("/dev/loop"))
        }

    def _collect(self) -> None:
        for key in [key for key, future in self._running.items() if future.done()]:
            done = self._running.pop(key).result()
            self.done.append(done)
            self.bench.finished(done)


def _key(device: Device) -> Key:
    """One appearance of a disk, by what the kernel alone says of it."""
    path, number, size, _, _, sequence = safety.identity(device, Path(device.path))
    return path, number, size, sequence
