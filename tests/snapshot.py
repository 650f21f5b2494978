"""A gateway that runs, kept: booted once, its state saved, and continued as often as wanted.

The disk and the UEFI variables of a fork are layers (qcow2) over those of the snapshot; memory and
devices are what QEMU's migration wrote to a file. A fork differs in nothing but its forwarded
ports and its logs. Its clock goes on where it was saved.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg import process
from edgeimg.arch import X86_64, Arch
from edgeimg.smoke.boots import LOSSES
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv
from edgeimg.vm.channel import Channel
from edgeimg.vm.machine import Guest, GuestLostError
from edgeimg.vm.qmp import Qmp

from tests.gateway import CPUS, Gateway, free_port

SAVE_SECONDS = 300.0
_DISK, _VARIABLES, _STATE = "disk.qcow2", "vars.qcow2", "state"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine that is saved, and that continues."""

    raw: Path
    """The disk image; only read."""
    toolbox: Toolbox
    """Of the group `qemu`."""
    arch: Arch = X86_64
    memory: int = 512
    """MiB."""
    cpus: int = CPUS


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    hardware: Hardware
    directory: Path


def key(hardware: Hardware, *more: str) -> str:
    """The name of a snapshot: the image, the machine, QEMU, and what was done before it was saved.

    Snapshots with one name are interchangeable.
    """
    version = hardware.toolbox.run(hardware.arch.qemu.program, "--version", timeout=60)
    words = (hardware.arch.name, str(hardware.memory), str(hardware.cpus), repr(version), *more)
    image = hashlib.sha256()
    with hardware.raw.open("rb") as file:
        while block := file.read(1 << 20):
            image.update(block)
    return hashlib.sha256("\0".join((image.hexdigest(), *words)).encode()).hexdigest()


def snapshot(
    place: Path, hardware: Hardware, login: Path, ready: Callable[[Gateway], object]
) -> Snapshot:
    """The snapshot in the directory `place`; made when it is not there yet, by one process.

    `login` is the secret key to log in with; `ready` waits until the gateway is to be saved.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            work = place.with_name(f"{place.name}.new")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _make(work, hardware, login, ready)
            work.rename(place)
    return Snapshot(hardware=hardware, directory=place)


def _make(work: Path, hardware: Hardware, login: Path, ready: Callable[[Gateway], object]) -> None:
    seconds = hardware.arch.qemu.boot_seconds / 2
    for attempt in range(LOSSES + 1):
        with contextlib.suppress(GuestLostError):
            with _running(work, hardware, login, None, watchful=attempt < LOSSES) as gateway:
                gateway.until("true", seconds)
                ready(gateway)
                gateway.run("sync")
                gateway.hang_up()
                _save(gateway.guest, work / _STATE)
            return
    raise AssertionError("the emulator lost every guest")


def _save(guest: Guest, state: Path) -> None:
    """Stop the guest, write its state, and end QEMU, which writes its disks."""
    guest.qmp.execute("migrate", uri=f"file:{state}")
    deadline = time.monotonic() + SAVE_SECONDS
    while (status := guest.qmp.execute("query-migrate")["status"]) != "completed":
        assert status != "failed", "the state was not saved"
        assert time.monotonic() < deadline, f"the state is not saved yet: {status}"
        time.sleep(0.2)
    guest.qmp.execute("quit")
    guest.process.wait(60)


@contextlib.contextmanager
def forked(saved: Snapshot, login: Path, console: Path) -> Iterator[Gateway]:
    """The gateway of a snapshot, as it was when it was saved; the serial console goes to a file."""
    with (
        tempfile.TemporaryDirectory(prefix="edgeimg-fork-") as name,
        _running(Path(name), saved.hardware, login, saved.directory, console=console) as gateway,
    ):
        gateway.until("true", 120)
        yield gateway


@contextlib.contextmanager
def _running(
    work: Path,
    hardware: Hardware,
    login: Path,
    origin: Path | None,
    *,
    console: Path | None = None,
    watchful: bool = False,
) -> Iterator[Gateway]:
    """A guest with its files in `work`, which starts by its firmware or goes on from `origin`."""
    port = free_port()
    console = console or work / "console.log"
    with (
        # Not below a test's directory: a socket's path has 107 bytes at most.
        tempfile.TemporaryDirectory(prefix="edgeimg-vm-") as sockets,
        (work / "qemu.log").open("wb") as errors,
        contextlib.ExitStack() as stack,
    ):
        argv = _argv(work, hardware, origin, Path(sockets), console, port)
        qemu = stack.enter_context(
            process.start(
                hardware.toolbox.argv(argv[0], *argv[1:]), env=hardware.toolbox.environment(),
                stdout=process.DEVNULL, stderr=errors, dies_with_us=True,
            )
        )  # fmt: skip
        guest = Guest(
            process=qemu,
            channel=stack.enter_context(contextlib.closing(Channel(Path(sockets, "report")))),
            qmp=stack.enter_context(Qmp(Path(sockets, "qmp"), timeout=60)),
            console=console,
            errors=work / "qemu.log",
            disk=work / _DISK,
            watchful=watchful,
        )
        yield stack.enter_context(Gateway(guest, port, login, Path(sockets, "ssh")).connected())


def _argv(
    work: Path, hardware: Hardware, origin: Path | None, sockets: Path, console: Path, port: int
) -> list[str]:
    """QEMU's command line, and the layers of the disk and of the UEFI variables."""
    tools = hardware.toolbox
    options = GuestOptions(memory=hardware.memory, cpus=hardware.cpus, forwards=((port, 22),))
    spec = machine.layout(
        hardware.arch, hardware.raw, work, options, accel=accel.tcg(hardware.arch, "a test"),
        toolbox=tools, console=console,
    )  # fmt: skip
    argv = qemu_argv(replace(spec, qmp=sockets / "qmp", report=sockets / "report"))
    create = ("qemu-img", "create", "-q", "-f", "qcow2")
    if origin is None:
        tools.run(
            "qemu-img", "convert", "-f", "raw", "-O", "qcow2", work / "vars.fd", work / _VARIABLES,
            timeout=60,
        )  # fmt: skip
    else:
        for name in (_DISK, _VARIABLES):
            (work / name).unlink(missing_ok=True)
            tools.run(*create, "-F", "qcow2", "-b", origin / name, work / name, timeout=60)
        argv += ["-incoming", f"file:{origin / _STATE}"]
    raw, layer = f"format=raw,file={work}/vars.fd", f"format=qcow2,file={work / _VARIABLES}"
    assert sum(raw in word for word in argv) == 1
    return [word.replace(raw, layer) for word in argv]
