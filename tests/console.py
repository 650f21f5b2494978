"""A gateway in QEMU that is spoken to on its serial console, as root: it needs no network.

Its disk outlives it, and what the guest did not flush is lost when it is killed, as in a power
cut.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeimg.arch import X86_64, Arch
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions, qemu_argv
from edgeimg.vm.machine import readable
from edgeimg.vm.qmp import Qmp

from tests.gateway import CPUS

_LOST = b"kthread timer wakeup didn't happen"


DISK = "if=none,id=disk,"
"""What QEMU's drive of the gateway's disk begins with (edgeimg.vm.argv)."""
DEVICE = "virtio-blk-pci,drive=disk,"
"""What the device of that drive begins with."""


class GuestLostError(Exception):
    """The emulator has lost a timer (edgeimg.vm.machine): the boot has to be made again."""


class Console:
    """A running guest."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, qmp: Path) -> None:
        self._process, self._log, self._qmp, self._count = process, log, qmp, 0
        self._said = bytearray()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("ab") as log:
            while part := os.read(self._process.stdout.fileno(), 65536):
                self._said += part
                log.write(part)
                log.flush()

    def kill(self) -> None:
        """Cut the power."""
        self._process.kill()
        self._process.wait()

    def wait_for_power_off(self, seconds: float = 120) -> None:
        """Until the guest has powered itself off."""
        assert self._process.wait(seconds) == 0

    def run(self, command: str, seconds: float = 120) -> str:
        """What a command says; fails when it does not succeed in time."""
        status, said = self.attempt(command, seconds)
        assert status == 0, f"{command}: status {status}: {said}"
        return said

    def until(self, command: str, seconds: float = 600) -> str:
        """What a command says when it succeeds at last."""
        deadline = time.monotonic() + seconds
        while True:
            status, said = self.attempt(command)
            if status == 0:
                return said
            assert time.monotonic() < deadline, f"{command}: {said}"
            time.sleep(2)

    def attempt(self, command: str, seconds: float = 120) -> tuple[int, str]:
        """Exit status and output. The marks are put together in the guest: what it echoes of the
        line that is typed has none.
        """
        self._count += 1
        begin, end = f"begin-{self._count}-", f"end-{self._count}-"
        line = f"printf '%s%s\\n' begin- {self._count}-; ( {command} ) 2>&1; "
        line += f"printf '\\n%s%s%s\\n' end- {self._count}- $?\n"
        self.type(line)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if _LOST in self._said:
                raise GuestLostError
            text = self._said.decode(errors="replace").replace("\r", "")
            _, began, rest = text.rpartition(f"{begin}\n")
            said, ended, status = rest.partition(f"\n{end}")
            if began and ended and "\n" in status:
                return int(status.splitlines()[0]), said
            assert self._process.poll() is None, "QEMU has ended"
            time.sleep(0.2)
        tail = "\n".join(readable(self._said.decode(errors="replace"))[-12:])
        return -1, f"no answer within {seconds:.0f} s\n{tail}"

    def wait_for(self, pattern: str, seconds: float = 300, *, typing: str = "") -> str:
        """What was said, as soon as the expression `pattern` is found in it; types meanwhile, again
        and again, as one holds a key down.
        """
        deadline = time.monotonic() + seconds
        while not re.search(pattern, said := self.said()):
            assert self._process.poll() is None, "QEMU has ended"
            assert time.monotonic() < deadline, f"{pattern!r} was not seen: {said[-2000:]}"
            if typing:
                self.type(typing)
            time.sleep(0.05 if typing else 0.3)  # the boot loader looks for a tenth of a second
        return said

    def said(self) -> str:
        """What was said since power-on, or since it was forgotten."""
        if _LOST in self._said:
            raise GuestLostError
        return self._said.decode(errors="replace").replace("\r", "")

    def forget(self) -> None:
        """What was said until now is not looked for any more."""
        self._said.clear()

    def type(self, text: str) -> None:
        """As on the keyboard of a serial terminal."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def screenshot(self, path: Path) -> None:
        """The attached screen, as a PNG file."""
        with Qmp(self._qmp) as qmp:
            qmp.execute("screendump", filename=str(path.absolute()), format="png")

    def wait_for_shell(self, seconds: float = 300) -> None:
        """Until the guest has booted so far that it answers."""
        deadline = time.monotonic() + seconds
        while self.attempt("true", 15)[0] != 0:
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def powered(
    raw: Path,
    work: Path,
    *,
    toolbox: Toolbox,
    arch: Arch = X86_64,
    memory: int = 512,
    network: bool = False,
    screen: str | None = None,
    drive: str = "",
    disk: str = "",
    more: Sequence[str] = (),
) -> Iterator[Console]:
    """A guest with the disk in `work`, made over `raw` when there is none; killed at the end.

    `screen` is one of QEMU's graphics cards, `drive` more properties of the disk (`readonly=on`),
    `disk` another device of QEMU for it (`nvme,serial=x`), `more` are QEMU's first arguments.
    """
    kept = work / "disk.qcow2"
    first = not kept.exists()
    if not first:
        kept.rename(work / "kept.qcow2")
    options = GuestOptions(memory=memory, cpus=CPUS)
    spec = machine.layout(
        arch, raw, work, options, accel=accel.tcg(arch, "a test"), toolbox=toolbox
    )
    if not first:
        (work / "kept.qcow2").replace(kept)
    argv = [word.replace("cache=unsafe", "cache=writeback") for word in qemu_argv(spec)]
    if not network:
        argv = _without(argv, "-netdev", "user,")
        argv = _without(argv, "-device", "virtio-net-pci")
    argv = _without(argv, "-mon", "")
    if screen is not None:
        argv += ["-device", screen]
    if disk:
        argv = [f"{disk},drive=disk" if word.startswith(DEVICE) else word for word in argv]
    argv[1:1] = more
    if drive:
        argv = [f"{word},{drive}" if word.startswith(DISK) else word for word in argv]
    with subprocess.Popen(
        [str(word) for word in toolbox.argv(argv[0], *argv[1:])], env=toolbox.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        console = Console(process, work / "console.log", spec.qmp)
        try:
            yield console
        finally:
            console.kill()


def _without(argv: list[str], option: str, value: str) -> list[str]:
    """The command line less one option."""
    for at, word in enumerate(argv[:-1]):
        if word == option and argv[at + 1].startswith(value):
            return argv[:at] + argv[at + 2 :]
    return argv


class Switch:
    """Turns a gateway on, after a power cut when it was on, and takes it as far as it is told."""

    def __init__(self, raw: Path, work: Path, **hardware: Any) -> None:
        self._raw, self._work, self._hardware = raw, work, hardware
        self._running = contextlib.ExitStack()
        self._console: Console | None = None

    def __call__(self, start: Callable[[Console], object] = Console.wait_for_shell) -> Console:
        for _ in range(3):
            self.off()
            console = self._running.enter_context(powered(self._raw, self._work, **self._hardware))
            with contextlib.suppress(GuestLostError):
                start(console)
                self._console = console
                return console
        raise AssertionError("the emulator lost three guests in a row")

    def on(self) -> Console:
        """The gateway at its shell: as it runs, or turned on when it does not."""
        with contextlib.suppress(GuestLostError, AssertionError, OSError):
            if self._console is not None and self._console.attempt("true")[0] == 0:
                return self._console
        return self()

    def off(self) -> None:
        """Cut the power."""
        self._console = None
        self._running.close()


@contextlib.contextmanager
def switched(raw: Path, work: Path, **hardware: Any) -> Iterator[Switch]:
    """The switch of one gateway with its disk in `work`; `hardware` as for `powered`."""
    switch = Switch(raw, work, **hardware)
    try:
        yield switch
    finally:
        switch.off()
