"""A guest for a person: its serial console on this terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.errors import HostError, ToolError
from edgeimg.progress import Progress
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, disk, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv


def run_guest(
    image: Path,
    arch: Arch,
    options: GuestOptions,
    *,
    toolbox: Toolbox,
    store: Store,
    progress: Progress,
) -> None:
    """Boot `image` with a root shell on this terminal until it powers off or Ctrl-A x is typed.

    Changes go to a throw-away disk. Raises HostError without a terminal,
    ToolError when QEMU fails (a forwarded port may be taken).
    """
    if not sys.stdin.isatty():
        raise HostError("edgeimg run needs a terminal", hint="use `edgeimg smoke` in scripts")
    accelerator = accel.detect(arch, options.accel, toolbox=toolbox, store=store, progress=progress)
    raw = disk.raw_image(image, store)
    with tempfile.TemporaryDirectory(prefix="edgeimg-vm-") as name:
        spec = machine.layout(arch, raw, Path(name), options, accel=accelerator, toolbox=toolbox)
        forwards = (f"localhost:{host} → {guest}" for host, guest in options.forwards)
        ports = ", ".join(forwards) or "none"
        progress.note(
            f"{arch.name} under {accelerator.name.upper()} ({accelerator.reason}); ports: {ports}"
        )
        progress.note("Ctrl-A x ends the machine, Ctrl-A h lists more keys")
        argv = qemu_argv(spec)
        environment = toolbox.environment({"TERM": os.environ.get("TERM", "vt220")})
        status = process.interactive(toolbox.argv(argv[0], *argv[1:]), env=environment)
    if status:
        raise ToolError(
            f"QEMU ended with status {status}",
            hint="when a port is taken, choose another with --forward",
        )
