"""A gateway that runs in QEMU, looked at over its ssh console."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from edgeimg.arch import X86_64, Arch
from edgeimg.smoke.boots import LOSSES
from edgeimg.tools import Toolbox
from edgeimg.vm import accel, machine
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.machine import Guest, GuestLostError

PROJECT = Path(__file__).parents[1]
_OPTIONS = (
    "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes",
    "ConnectTimeout=20",
)  # fmt: skip
CPUS = 1
"""Of a guest: QEMU emulates one faster than two where as many guests run as there are cores
(tests/bench/processors.py)."""
OPTIONS = GuestOptions(cpus=CPUS)
FILL = (
    "left=$(df -k /var | awk 'END { print $4 }');"
    " busybox fallocate -l $((left - 8192))k /var/ballast;"
    " dd if=/dev/zero of=/var/rest bs=1k 2> /dev/null;"
    " [ -s /var/ballast ] && [ -s /var/rest ]"
)
"""Fills a gateway's data partition; nearly all of it is only allocated, for that takes no time."""
EMPTY = "rm /var/ballast /var/rest"
_NO_CONNECTION = 255
"""ssh's exit status when it is not the command's."""


class Gateway:
    """A running guest, over ssh.

    Commands share a connection once one has succeeded: to log in takes an emulated guest seconds.
    """

    def __init__(self, guest: Guest, port: int, key: Path, control: Path) -> None:
        self.guest, self.port, self.key, self._control = guest, port, key, control
        self._shared: subprocess.Popen[bytes] | None = None

    def run(self, command: str, *, timeout: float = 120) -> str:
        """What a command says there; fails when it fails."""
        done = self.attempt(command, timeout=timeout)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, command: str, *, timeout: float = 120, alone: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """What comes of a command; `alone`, over a connection of its own."""
        done = subprocess.run(
            [*self._argv("none" if alone else self._control), command], capture_output=True,
            text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if not alone and done.returncode != _NO_CONNECTION:
            self._share()
        return done

    def without_k3s(self) -> None:
        """Stop K3s, which keeps an emulated guest busy, for tests of what does not need it."""
        self.run("systemctl stop k3s.service", timeout=300)

    def login(self) -> subprocess.CompletedProcess[str]:
        """What is said to somebody who logs in, and leaves at once."""
        return self.attempt("", alone=True)

    def restart(self, seconds: float) -> None:
        """Restart the gateway, and wait until one can log in again."""
        before = self.run("cat /proc/sys/kernel/random/boot_id").strip()
        self.attempt("systemctl reboot")
        self.hang_up()
        time.sleep(5)
        self.until(f"! grep -q {before} /proc/sys/kernel/random/boot_id", seconds, alone=True)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Gateway]:
        """The gateway; its connection ends with the block."""
        try:
            yield self
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """End the shared connection."""
        if self._shared is not None:
            self._shared.kill()
            self._shared.wait()
        self._shared = None
        self._control.unlink(missing_ok=True)

    def _share(self) -> None:
        if self._shared is not None and self._shared.poll() is None:
            return
        self.hang_up()
        keep_alive = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8")
        self._shared = subprocess.Popen(
            self._argv(self._control, "-M", "-N", *keep_alive),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _argv(self, control: Path | str, *options: str) -> list[str]:
        return [
            "ssh", *(word for option in _OPTIONS for word in ("-o", option)), "-F", "/dev/null",
            "-S", str(control), *options, "-i", str(self.key), "-p", str(self.port),
            "root@127.0.0.1",
        ]  # fmt: skip

    def until(
        self, command: str, seconds: float = 300, *, alone: bool = False,
        watch: Callable[[], None] = lambda: None,
    ) -> str:  # fmt: skip
        """What a command says when it succeeds at last."""
        deadline = time.monotonic() + seconds
        while True:
            self.guest.alive()
            watch()
            done = self.attempt(command, alone=alone)
            if done.returncode == 0:
                return done.stdout
            said = f"{command}: {done.stdout}{done.stderr}\n" + "\n".join(self.guest.tail())
            assert time.monotonic() < deadline, said
            time.sleep(1)


def project(root: Path) -> Path:
    """Copy the default project to `root`, with a key to log in with; the secret key's file."""
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, root / name, symlinks=True)
    key = root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    authorized = root / "overlays/base/etc/edgeimg/ssh/authorized_keys"
    authorized.write_text(key.with_suffix(".pub").read_text())
    return key


def edgeimg(project: Path, *arguments: str | Path, **env: str) -> str:
    """What edgeimg prints in a project; fails when it fails."""
    done = subprocess.run(
        [shutil.which("edgeimg") or "edgeimg", *arguments], cwd=project, stdout=subprocess.PIPE,
        text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def built(project: Path, arch: Arch, *arguments: str | Path, k3s: str = "standin") -> Path:
    """The image that a project's recipe builds; with the stand-in, unless told otherwise."""
    told = edgeimg(project, "build", "-a", arch.name, "--k3s", k3s, "--json", *arguments)
    (image,) = json.loads(told)["images"]
    return project / image["image"]


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def booted(
    raw: Path,
    key: Path,
    *,
    toolbox: Toolbox,
    console: Path,
    arch: Arch = X86_64,
    options: GuestOptions = OPTIONS,
    seconds: float | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Iterator[Gateway]:
    """Boot a raw disk image until one can log in, within `seconds`; emulated.

    `watch` is called while that is waited for, and raises when there is no use in waiting.
    """
    console.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    reached = replace(options, forwards=((port, 22), *options.forwards))
    for attempt in range(LOSSES + 1):
        with (
            # Not below a test's directory: a socket's path has 107 bytes at most.
            tempfile.TemporaryDirectory(prefix="edgeimg-ssh-") as sockets,
            machine.start(
                arch, raw, reached, accel=accel.tcg(arch, "a test"), console=console,
                toolbox=toolbox, watchful=attempt < LOSSES,
            ) as guest,
            Gateway(guest, port, key, Path(sockets, "control")).connected() as running,
        ):  # fmt: skip
            try:
                running.until("true", seconds or arch.qemu.boot_seconds / 2, watch=watch)
            except GuestLostError:
                continue
            yield running
            return
