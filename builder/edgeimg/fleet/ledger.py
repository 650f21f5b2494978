"""What was flashed when, with what: one JSON document a line, only ever added to.

Before a disk is written a line says so, afterwards another one how it ended; the last line of a run
counts. A line holds no secret, and nothing that one could be guessed from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeimg.errors import HostError
from edgeimg.text import bounded

_LARGEST = 64 << 20
"""Bytes: 100,000 runs."""
_ELSEWHERE = "name another place with --ledger"
Result = Literal["started", "ok", "failed", "interrupted"]


class Entry(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    run: str
    """What the lines about one writing of one disk have in common."""
    time: str
    """ISO 8601, UTC."""
    result: Result
    gateway: str = ""
    """Empty for an image that was not provisioned with it."""
    device: str = ""
    serial: str = ""
    """The disk's, as it tells. A card reader may tell its own."""
    model: str = ""
    sector: int = 0
    """Bytes of the disk's sectors; 0 in lines of an older edgeimg."""
    image: str = ""
    """File name."""
    version: str = ""
    arch: str = ""
    digest: str = ""
    """SHA-256 of the image's file."""
    root_hash: str = ""
    """Of the image's root file system: a gateway tells its own (`/proc/cmdline`)."""
    settings: str = ""
    """SHA-256 of what the gateway was provisioned with, secrets left out."""
    by: str = ""
    """`user@host`."""
    process: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a ledger holds."""

    entries: tuple[Entry, ...] = ()
    damaged: tuple[int, ...] = ()
    """Lines that say nothing: what a power cut left of them, or a hand that slipped."""

    def runs(self) -> tuple[Entry, ...]:
        """The last line of every run, in the order in which they began."""
        return tuple({entry.run: entry for entry in self.entries}.values())

    def last(self, gateway: str) -> Entry | None:
        """The latest run of a gateway."""
        return next((run for run in reversed(self.runs()) if run.gateway == gateway), None)


class Ledger:
    """A ledger's file; it is made when something is first written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Read:
        """All of it. Raises HostError when the file is there and cannot be read."""
        try:
            data = bounded.read(self.path, _LARGEST)
        except FileNotFoundError:
            return Read()
        except OSError as error:
            raise HostError(f"cannot read the ledger {self.path}: {error.strerror}") from None
        return _parse(data)

    def add(self, entry: Entry) -> None:
        """Add a line; it is on the medium when this returns. Raises HostError."""
        with self._locked() as file:
            _append(file, entry)

    def claim(self, choose: Callable[[Read], Entry | None]) -> Entry | None:
        """Add the line that `choose` makes of what is there, while nobody else adds any.

        Raises HostError.
        """
        with self._locked() as file:
            entry = choose(_parse(file.read()))
            if entry is not None:
                _append(file, entry)
            return entry

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                # After a power cut, lines may be cut off or zeros.
                if file.read(1) not in (b"", b"{", b"\n", b"\0"):
                    raise HostError(
                        f"{self.path} is not a ledger, so no line is added", hint=_ELSEWHERE
                    )
                file.seek(0)
                yield file
        except OSError as error:
            raise HostError(
                f"cannot write the ledger {self.path}: {error.strerror}",
                hint=_ELSEWHERE,
            ) from None


def now() -> str:
    """The time as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def whoami() -> str:
    """`user@host`; with sudo, the user who asked for it."""
    user = os.environ.get("SUDO_USER")
    if not user:
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a number without a name, as in containers
            user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def is_running(entry: Entry) -> bool:
    """Whether the process of a run that has not ended is still there, as far as can be told here.

    One that began after the line was written only has the same number.
    """
    if entry.result != "started" or entry.by.rpartition("@")[2] != socket.gethostname():
        return False
    try:
        began = Path(f"/proc/{entry.process}").stat().st_ctime
        return began <= datetime.fromisoformat(entry.time).timestamp() + 1
    except (OSError, ValueError):
        return False


def select(
    runs: Sequence[Entry], *, gateway: str = "", serial: str = "", digest: str = ""
) -> tuple[Entry, ...]:
    """The runs of a gateway, of a disk, of an image: digests by their beginning."""
    return tuple(
        run
        for run in runs
        if (not gateway or run.gateway == gateway)
        and (not serial or run.serial == serial)
        and (not digest or _begins(run, digest.lower().removeprefix("sha256:")))
    )


def _begins(run: Entry, digest: str) -> bool:
    return any(known.startswith(digest) for known in (run.digest, run.root_hash, run.settings))


def _append(file: BinaryIO, entry: Entry) -> None:
    size = file.seek(0, os.SEEK_END)
    torn = False
    if size:
        file.seek(size - 1)
        torn = file.read(1) != b"\n"  # of whoever lost power: it stays, on a line of its own
    file.write(b"\n" * torn + entry.model_dump_json().encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _parse(data: bytes) -> Read:
    entries, damaged = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError:
            damaged.append(number)
    return Read(entries=tuple(entries), damaged=tuple(damaged))
