"""Runs a guest: makes its disk and firmware, starts QEMU, removes everything afterwards."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.cache.store import disk_errors
from edgeimg.errors import SmokeError, ToolError
from edgeimg.process import Process
from edgeimg.tools import Toolbox
from edgeimg.vm import disk
from edgeimg.vm.argv import Accel, GuestOptions, GuestSpec, qemu_argv
from edgeimg.vm.channel import Channel
from edgeimg.vm.qmp import Qmp

_TAIL_LINES = 12
_RECENT = 65536
_LOST = b"kthread timer wakeup didn't happen"
"""The message of Linux (kernel/rcu/tree_stall.h) when a processor's timer is long overdue.
QEMU's emulator, with a thread for each processor on a busy host, loses one in some fifty starts."""
_ESCAPE = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[=>78M]")
_SPINNER = re.compile(r"\] (Job |\(\d+ of \d+\) ).* running \(")


def readable(console: str) -> list[str]:
    """The lines of a console log less colours, empty lines and systemd's moving stars."""
    plain = (_ESCAPE.sub("", line) for line in console.splitlines())
    lines = ("".join(c for c in line if c.isprintable()) for line in plain)
    return [line for line in lines if line.strip() and not _SPINNER.search(line)]


class GuestLostError(SmokeError):
    """A processor of an emulated guest waits for a timer for ever: not the image's fault."""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A running machine."""

    process: Process
    qmp: Qmp
    channel: Channel
    console: Path
    errors: Path
    disk: Path
    """A layer over the image (qcow2). It is removed with the guest."""
    watchful: bool
    """Look for signs that the emulator has lost a timer."""

    def alive(self) -> None:
        """Raise SmokeError, with the tail of the console, when QEMU has ended.

        Raises GuestLostError when the guest is emulated and stands still.
        """
        status = self.process.poll()
        if status is not None:
            message = self.errors.read_text(errors="replace").strip().splitlines()[-3:]
            raise SmokeError(
                "\n  ".join([f"QEMU ended with status {status}", *message, *self.tail()])
            )
        if self.watchful and _LOST in self._recent():
            raise GuestLostError("the emulator has lost a timer of the guest, which stands still")

    def tail(self) -> list[str]:
        """The console's last lines."""
        return readable(self._recent().decode(errors="replace"))[-_TAIL_LINES:]

    def _recent(self) -> bytes:
        """The last lines of the console."""
        try:
            with self.console.open("rb") as file:
                file.seek(max(0, self.console.stat().st_size - _RECENT))
                return file.read(_RECENT)
        except FileNotFoundError:
            return b""


@contextlib.contextmanager
def start(
    arch: Arch,
    raw: Path,
    options: GuestOptions,
    *,
    accel: Accel,
    console: Path,
    toolbox: Toolbox,
    watchful: bool = True,
) -> Iterator[Guest]:
    """Boot the raw disk image through UEFI; the image is only read.

    The serial console goes to the file `console`; `watchful`: see Guest.alive. QEMU and its disk
    are removed at the end of the block. Raises ToolError or HostError when QEMU cannot start.
    """
    # Not below the user's directory: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="edgeimg-vm-") as name, disk_errors(Path(name)):
        work = Path(name)
        spec = layout(arch, raw, work, options, accel=accel, console=console, toolbox=toolbox)
        argv = qemu_argv(spec)
        errors = work / "qemu.log"
        with (
            errors.open("wb") as log,
            process.start(
                toolbox.argv(argv[0], *argv[1:]),
                env=toolbox.environment(),
                stdout=process.DEVNULL,
                stderr=log,
                dies_with_us=True,
            ) as qemu,
            contextlib.ExitStack() as connections,
        ):
            try:
                channel = connections.enter_context(contextlib.closing(Channel(work / "report")))
                qmp = connections.enter_context(Qmp(spec.qmp))
            except ToolError as error:
                message = errors.read_text(errors="replace").strip()
                raise ToolError(
                    f"{error.message}\n  {message}" if message else error.message
                ) from error
            yield Guest(
                process=qemu,
                qmp=qmp,
                channel=channel,
                console=console,
                errors=errors,
                disk=spec.disk,
                watchful=watchful and accel.name == "tcg",
            )


def layout(
    arch: Arch,
    raw: Path,
    work: Path,
    options: GuestOptions,
    *,
    accel: Accel,
    toolbox: Toolbox,
    console: Path | None = None,
) -> GuestSpec:
    """Lay out a guest's files in `work` and describe the guest. Without a console: interactive."""
    disk.overlay(raw, work / "disk.qcow2", toolbox=toolbox)
    shutil.copyfile(toolbox.path(arch.qemu.firmware_vars), work / "vars.fd")
    return GuestSpec(
        arch=arch,
        accel=accel,
        options=options,
        disk=work / "disk.qcow2",
        firmware_code=toolbox.path(arch.qemu.firmware_code),
        firmware_vars=work / "vars.fd",
        firmware_dirs=(toolbox.path("usr/share/qemu"), *_seabios(toolbox)),
        qmp=work / "qmp",
        console=console,
        report=work / "report" if console is not None else None,
        shell=console is None,
    )


def _seabios(toolbox: Toolbox) -> tuple[Path, ...]:
    path = toolbox.root / "usr/share/seabios"
    return (path,) if path.is_dir() else ()
