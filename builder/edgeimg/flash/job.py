"""One image to many targets at once; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from edgeimg.cache import partials
from edgeimg.errors import EdgeimgError, HostError
from edgeimg.flash import safety, target
from edgeimg.flash.ahead import StoppedError
from edgeimg.flash.safety import Chosen
from edgeimg.flash.sectors import SectorImage
from edgeimg.flash.write import ByteCounts, write
from edgeimg.image.blockmap import BlockMap
from edgeimg.image.partitions import SECTOR
from edgeimg.progress import Progress

_UNFINISHED = "it is not usable now: flash it again"
_COUNTS = [field.name for field in fields(ByteCounts)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went with one target."""

    device: str
    ok: bool
    error: str = ""
    hint: str = ""
    serial: str = ""
    model: str = ""
    counts: ByteCounts | None = None
    """In bytes; None when it failed."""
    sector: int = SECTOR
    """Bytes of the disk's sectors."""
    seconds: float = 0.0
    log: str = ""
    """Path of the log; empty without a log directory, or when it could not be written."""
    interrupted: bool = False

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        document = asdict(self)
        return (
            document | (document.pop("counts") or dict.fromkeys(_COUNTS, 0)) | {"rate": self.rate}
        )

    @property
    def rate(self) -> int:
        """Bytes a second, from the start to the last comparison."""
        return round(self.counts.read_back / self.seconds) if self.counts and self.seconds else 0


def flash(
    image: Path,
    blocks: BlockMap,
    chosen: Sequence[Chosen],
    *,
    large: SectorImage | None = None,
    logs: Path | None,
    progress: Progress,
) -> list[Outcome]:
    """Write `image` to every target and read it back; the outcomes in the order of `chosen`.

    `large` is the image as disks with other sectors than 512 bytes get it (`sectors.lay_out`).
    Ctrl-C (KeyboardInterrupt) ends all of them; unfinished targets say so, and are marked on the
    medium.
    """
    stop = threading.Event()
    usual = SectorImage(path=image, blocks=blocks)
    with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
        futures = [
            pool.submit(
                flash_one,
                usual if large is None or one.sector == usual.sector else large,
                one,
                logs=logs,
                progress=progress,
                stop=stop,
            )
            for one in chosen
        ]
        try:
            _wait(futures)
        except KeyboardInterrupt:
            stop.set()
            wait(futures)
    return [future.result() for future in futures]


def _wait(futures: list[Future[Outcome]]) -> None:
    pending = set(futures)
    while pending:  # in steps, so that an interrupt is seen
        _, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)


def flash_one(
    image: SectorImage,
    chosen: Chosen,
    *,
    logs: Path | None,
    progress: Progress,
    stop: threading.Event,
) -> Outcome:
    """Write `image` to one target and read it back, in the caller's thread; `stop` ends it."""
    began, log, blocks = time.monotonic(), _Log(logs, chosen, progress), image.blocks
    log.add(f"{image.path} ({blocks.mapped} of {blocks.image_size} bytes) to {chosen.title}")
    outcome = Outcome(device=str(chosen.argument), ok=False, seconds=0, sector=chosen.sector)
    if chosen.device is not None:
        outcome = replace(outcome, serial=chosen.device.serial, model=chosen.device.model)
    started, phase = False, _Phase(chosen, log)
    try:
        safety.still_the_same(chosen)
        with _opened(chosen, blocks) as opened:
            # Once more, now that it is held: it may have changed between the two.
            safety.still_the_same(chosen)
            _require_sector(image, opened)
            if stop.is_set():
                raise StoppedError("interrupted before anything was written")
            started = True
            with progress.task(phase.label, blocks.mapped) as advance:
                counts = write(
                    image.path, blocks, opened, advance=advance, stop=stop, phase=phase.enter
                )
            if not opened.reread_partitions():
                log.add("the kernel keeps the old partition table until the medium is taken out")
    except (EdgeimgError, OSError) as caught:
        error = expected(caught)
        hints = [error.hint or "", _UNFINISHED if started and chosen.exists else ""]
        log.add(f"failed: {error.message}")
        return replace(
            outcome, error=error.message, seconds=time.monotonic() - began,
            hint="; ".join(filter(None, hints)), log=log.name,
            interrupted=isinstance(error, StoppedError),
        )  # fmt: skip
    outcome = replace(outcome, ok=True, counts=counts, seconds=time.monotonic() - began)
    log.add(
        f"done in {outcome.seconds:.1f} s, {safety.human(outcome.rate)}/s: {counts.written} bytes "
        f"written, {counts.kept} unchanged, {counts.read_back} read back, "
        f"{counts.discarded} discarded"
    )
    return replace(outcome, log=log.name)


def _require_sector(image: SectorImage, opened: target.Target) -> None:
    """Raises HostError before anything is written when the image counts in other sectors."""
    if image.sector != opened.sector:
        raise HostError(
            f"it has sectors of {opened.sector} bytes, the image is laid out for {image.sector}",
            hint="look at it again with `edgeimg devices`",
        )


def expected(error: EdgeimgError | OSError) -> EdgeimgError:
    """An unexpected error on one disk is the failure of that disk and does not stop the others."""
    return error if isinstance(error, EdgeimgError) else HostError(str(error))


class _Phase:
    """The current phase of one target."""

    def __init__(self, chosen: Chosen, log: _Log) -> None:
        self._name, self._log, self._now = str(chosen.argument), log, "open"

    def enter(self, phase: str) -> None:
        self._now = phase
        self._log.add(phase)

    def label(self) -> str:
        return f"{self._name}: {self._now}"


@contextlib.contextmanager
def _opened(chosen: Chosen, blocks: BlockMap) -> Iterator[target.Target]:
    """The target; a file that is new gets its name when it is finished."""
    if chosen.exists:
        with target.opened(chosen.real) as opened:
            yield opened
        return
    with contextlib.ExitStack() as stack:
        try:
            partial = stack.enter_context(partials.file(chosen.real))
        except OSError as error:
            raise target.refusal(chosen.real, error) from None
        with target.opened(partial) as opened:
            opened.resize(blocks.image_size)
            yield opened
        try:
            partial.replace(chosen.real)
        except OSError as error:
            raise HostError(f"cannot write {chosen.argument}: {error.strerror}") from None


class _Log:
    """Log of one target: lines with their time.

    It never stops a flash. If it cannot be written, one note reports that, and the log ends.
    """

    def __init__(self, directory: Path | None, chosen: Chosen, progress: Progress) -> None:
        self._path: Path | None = None
        self._progress = progress
        if directory is not None:
            name = str(chosen.argument).strip("/").replace("/", "-")
            now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
            self._path = directory / f"{now}-{name}.log"

    @property
    def name(self) -> str:
        return str(self._path or "")

    def add(self, line: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"{now} {line}\n")
        except OSError as error:
            self._progress.note(f"the log {self._path} cannot be written: {error.strerror}")
            self._path = None
