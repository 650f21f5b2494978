"""Time to flash and verify, side by side: edgeimg flash, bmaptool copy, zstd | dd.

    sudo python3 tests/bench/flash.py IMAGE [--write MB/s] [--read MB/s] [--rounds N]

Each way gets a device of its own that starts anew: a loop device on nbdkit's memory, seen through
nbdfuse. `duplex` (nbdkit's rate filter) limits writing and reading apart from each other, as a USB
or NVMe drive does; `card` (its delay filter) does one request at a time, as an SD card does. Needs
root, and of Debian: bmap-tools nbdkit libnbd-bin fuse3. Nothing else should run on the machine.
Feeds docs/flash.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import environment  # noqa: F401
from edgeimg.image import blockmap
from edgeimg.image.blockmap import BlockMap

PROJECT = Path(__file__).parents[2]
MB = 1000 * 1000
REQUEST = 256 << 10
"""What a loop device and FUSE hand on at least, of a write of 4 MiB."""
WAIT = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="NAME.raw.zst, with NAME.bmap beside it")
    parser.add_argument("--write", type=float, default=20, help="MB/s (default: %(default)s)")
    parser.add_argument("--read", type=float, default=90, help="MB/s of a card (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", choices=("duplex", "card"), action="append")
    asked = parser.parse_args()
    missing = [name for name in ("bmaptool", "nbdkit", "nbdfuse") if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    blocks = blockmap.read(asked.image.with_name(asked.image.name.replace(".raw.zst", ".bmap")))
    half = 1 + blocks.mapped / (asked.write * MB) / 2
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.") as name:
        raw = Path(name) / "image.raw"
        run("zstd", "-dqf", "--sparse", asked.image, "-o", raw)
        for kind in asked.device or ("duplex", "card"):
            settings = device_settings(kind, asked.write, asked.read)
            print(f"\n{kind}: {' '.join(settings)}", flush=True)
            compare(Path(name), settings, ways(asked.image, raw, blocks, half), asked.rounds)


def device_settings(kind: str, write: float, read: float) -> list[str]:
    """nbdkit's filters and their settings."""
    if kind == "duplex":
        # Half a second may be caught up. With the default of two, a quarter of it were free.
        return ["--filter=rate", "memory", f"rate={round(write * 8 * MB)}", "burstiness=0.5"]
    times = [
        f"{name}delay={round(REQUEST / (rate * MB) * 1000)}ms"
        for name, rate in (("w", write), ("r", read))
    ]
    filters = ["--filter=blocksize", "--filter=noparallel", "--filter=delay"]
    return [*filters, "memory", "serialize=all-requests", f"maxdata={REQUEST}", *times]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One row of the table."""

    name: str
    verified: str
    act: Callable[[Path], None]
    before: Callable[[Path], None] = lambda _: None
    """What does not count."""


def ways(image: Path, raw: Path, blocks: BlockMap, half: float) -> list[Way]:
    """What is compared; after `half` seconds about half of the image is written."""
    flash = [sys.executable, "-c", "from edgeimg.cli import main; main()", "flash", "-q", "--yes"]

    def edgeimg(disk: Path) -> None:
        told = subprocess.run([*flash, "--json", image, disk], cwd=PROJECT, check=True,
                              stdout=subprocess.PIPE).stdout  # fmt: skip
        print(f"(by edgeimg's own clock: {json.loads(told)['devices'][0]['seconds']:.1f} s)")

    def interrupted(disk: Path) -> None:
        with subprocess.Popen([*flash, image, disk], cwd=PROJECT) as first:
            time.sleep(half)
            first.kill()

    def bmaptool(disk: Path) -> None:
        run("bmaptool", "-q", "copy", image, disk)

    def dd(disk: Path) -> None:
        with subprocess.Popen(["zstd", "-dcq", image], stdout=subprocess.PIPE) as zstd:
            run("dd", f"of={disk}", "bs=4M", "iflag=fullblock", "oflag=direct", "conv=fsync",
                "status=none", stdin=zstd.stdout)  # fmt: skip

    def compared_by_map(disk: Path) -> None:
        run("blockdev", "--flushbufs", disk)
        for one in blocks.extents:
            run("cmp", "-n", one.size, "-i", one.start, disk, raw)

    def compared_whole(disk: Path) -> None:
        run("blockdev", "--flushbufs", disk)
        run("cmp", "-n", blocks.image_size, disk, raw)

    every = "source and medium, by the map"
    return [
        Way(name="edgeimg flash", verified=every, act=edgeimg),
        Way(name="the same, killed before at half", verified=every, before=interrupted,
            act=edgeimg),
        Way(name="bmaptool copy", verified="source only, by the map", act=bmaptool),
        Way(name="bmaptool copy; cmp", verified=every, act=both(bmaptool, compared_by_map)),
        Way(name="zstd \\| dd", verified="nothing", act=dd),
        Way(name="zstd \\| dd; cmp", verified="medium, all of it", act=both(dd, compared_whole)),
    ]  # fmt: skip


def both(one: Callable[[Path], None], other: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(disk: Path) -> None:
        one(disk)
        other(disk)

    return act


def compare(work: Path, settings: list[str], ways: list[Way], rounds: int) -> None:
    took: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            with device(work, settings) as disk:
                way.before(disk)
                began = time.monotonic()
                way.act(disk)
                took[way.name].append(time.monotonic() - began)
    ours = statistics.median(took[ways[0].name])
    print("| | verified | s | edgeimg's share |\n|---|---|---:|---:|")
    for way in ways:
        seconds = statistics.median(took[way.name])
        print(f"| {way.name} | {way.verified} | {seconds:.1f} | {ours / seconds:.2f} |", flush=True)


@contextlib.contextmanager
def device(work: Path, settings: list[str]) -> Iterator[Path]:
    """A block device of 1000 MiB with nbdkit's settings.

    A multiple of 4096: of others Linux writes buffered data in pieces of 512 bytes.
    """
    socket, mount = work / "nbd.sock", work / "nbd"
    mount.mkdir(exist_ok=True)
    filters = [word for word in settings if word.startswith("--filter")]
    rest = [word for word in settings if word not in filters]
    plugin, *values = rest
    with contextlib.ExitStack() as stack:
        server = ["nbdkit", "-f", "-U", socket, *filters, plugin, str(1000 << 20), *values]
        stack.enter_context(running(server))
        until(socket.exists)
        stack.callback(socket.unlink, missing_ok=True)
        stack.enter_context(running(["nbdfuse", mount, f"nbd+unix:///?socket={socket}"]))
        disk = mount / "nbd"
        until(disk.exists)
        stack.callback(run, "fusermount3", "-u", mount)
        found = subprocess.run(
            ["losetup", "-f", "--show", "--direct-io=on", disk],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        stack.callback(run, "losetup", "-d", found)
        yield Path(found)


@contextlib.contextmanager
def running(argv: list[str | Path]) -> Iterator[None]:
    with subprocess.Popen(argv) as process:
        try:
            yield
        finally:
            process.terminate()


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not ready():
        assert time.monotonic() < deadline, "the device did not come"
        time.sleep(0.05)


def run(*argv: object, **options: object) -> None:
    subprocess.run([str(word) for word in argv], check=True, **options)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
