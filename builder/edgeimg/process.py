"""The only place that starts other programs: argv in, deadline kept, log tail on failure."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from edgeimg.errors import HostError, OverrunError, ToolError

Item = TypeVar("Item")
Result = TypeVar("Result")
TAIL_LINES = 15
OUTPUT = 64 << 20
"""Most bytes that a program may print; its input may be untrusted."""
DEVNULL = subprocess.DEVNULL
Process = subprocess.Popen[bytes]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end edgeimg in order: Ctrl-C, a service manager, a terminal that was closed."""
_DYING = 30.0
"""Seconds that a killed program may take: the kernel frees its memory first."""
_running: set[Process] = set()
_PARENT_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment that does not leak the caller's locale or time zone into results."""
    base = {name: os.environ[name] for name in _PARENT_ENVIRONMENT if name in os.environ}
    return {**base, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,
    name: str | None = None,
) -> bytes:
    """Run `argv` to its end and return its standard output.

    `env` replaces the environment entirely (see `environment`); `timeout` is in seconds.
    Raises ToolError with the tail of the program's log when it fails, and when it prints more
    than `OUTPUT` bytes, OverrunError when it overruns, HostError when it cannot be started or the
    disk is full.
    """
    label = name or Path(argv[0]).name
    with start(argv, cwd=cwd, env=env, stdin=subprocess.PIPE if input is not None else None) as p:
        out, err = communicate(p, input or b"", timeout=timeout, label=label)
    if p.returncode:
        log = (err or out).decode(errors="replace").strip().splitlines()
        if any("No space left on device" in line for line in log):
            raise HostError(f"{label}: no space left on device", hint="free some disk space")
        tail = "\n  ".join(log[-TAIL_LINES:])
        raise ToolError(f"{label} failed with status {p.returncode}\n  {tail}")
    return out


def communicate(
    process: Process, input: bytes = b"", *, timeout: float, label: str
) -> tuple[bytes, bytes]:
    """Wait for the end of a program that was started with pipes: its standard output and error.

    Raises OverrunError after `timeout` seconds, ToolError when it prints more than `OUTPUT` bytes;
    `label` names it. As Popen.communicate, which takes whatever comes.
    """
    deadline, left = time.monotonic() + timeout, memoryview(input)
    streams = (process.stdout, process.stderr, process.stdin)
    pipes = {stream.fileno(): stream for stream in streams if stream}
    printed = {number: bytearray() for number in list(pipes)[:2]}
    with selectors.DefaultSelector() as selector:
        for number in pipes:
            kind = selectors.EVENT_READ if number in printed else selectors.EVENT_WRITE
            selector.register(number, kind)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise _overrun(process, label, timeout)
            for key, _ in ready:
                if key.fd in printed:
                    block = os.read(key.fd, 1 << 16)
                    printed[key.fd] += block
                    ended = not block
                else:
                    left = _write(key.fd, left)
                    ended = not left
                if ended:
                    selector.unregister(key.fd)
                    pipes[key.fd].close()
            if max(map(len, printed.values())) > OUTPUT:
                stop(process)
                raise ToolError(f"{label} printed more than {OUTPUT >> 20} MiB")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    if process.returncode is None:
        raise _overrun(process, label, timeout)
    out, err = printed.values()
    return bytes(out), bytes(err)


def _write(pipe: int, data: memoryview) -> memoryview:
    """Write what a pipe takes without waiting; the rest, nothing when nobody reads it."""
    try:
        return data[os.write(pipe, data[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        return data[:0]


def _overrun(process: Process, label: str, timeout: float) -> OverrunError:
    stop(process)
    return OverrunError(f"{label} did not finish within {timeout:.0f} s")


@contextlib.contextmanager
def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    dies_with_us: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `argv` in a process group of its own; the group is gone when the block is left.

    With `dies_with_us` the kernel ends it also when edgeimg itself is killed (prctl(2),
    PR_SET_PDEATHSIG, by setpriv(1) where the host has it): for what would run on for ever.
    """
    setpriv = shutil.which("setpriv") if dies_with_us else None
    if setpriv:
        argv = [setpriv, "--pdeathsig", "KILL", *argv]
    process: Process | None = None
    try:
        with _undivided():
            process = subprocess.Popen(
                [str(arg) for arg in argv],
                cwd=cwd,
                env=dict(env) if env is not None else environment(),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                process_group=0,
            )
            _running.add(process)
    except OSError as error:
        raise HostError(f"cannot start {argv[0]}: {error.strerror}") from error
    except BaseException:
        _end(process)
        raise
    try:
        yield process
    finally:
        _end(process)


@contextlib.contextmanager
def _undivided() -> Iterator[None]:
    """Ctrl-C waits until the block is left: a program that was started must be known by then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    usual = {
        signum: signal.signal(signum, lambda number, _: pending.append(number))
        for signum in ENDING
        if signal.getsignal(signum) is not None  # None: set by what is not Python, and not ours
    }
    try:
        yield
    finally:
        for signum, handler in usual.items():
            signal.signal(signum, handler)
        for number in pending:
            signal.raise_signal(number)


def _end(process: Process | None) -> None:
    if process is not None:
        stop(process)
        _running.discard(process)


def interactive(argv: Sequence[str | Path], *, env: Mapping[str, str]) -> int:
    """Run `argv` on the caller's terminal until it ends, and return its exit status.

    It stays in the caller's process group, or it could not read the terminal.
    Raises HostError when it cannot be started.
    """
    try:
        return subprocess.run([str(arg) for arg in argv], env=dict(env), check=False).returncode
    except OSError as error:
        raise HostError(f"cannot start {argv[0]}: {error.strerror}") from error


def parallel(work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int) -> list[Result]:
    """The results in the order of `items`; when one raises, the others' programs are ended."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                stop_all()  # again: one may be starting just now
                time.sleep(0.1)
            raise


def stop_all() -> None:
    """End every program that runs now: what waits for them in other threads goes on, and fails."""
    for process in list(_running):
        stop(process)


def stop(process: subprocess.Popen[bytes], *, grace: float = 3.0) -> None:
    """End the process group: SIGTERM, `grace` seconds, SIGKILL."""
    if process.poll() is not None:
        return
    for signum, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _DYING)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
