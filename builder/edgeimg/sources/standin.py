"""Builds the K3s stand-in of builder/standin with Go, once for each state of its sources.

It is for tests and demonstrations where K3s' releases cannot be fetched. It is not K3s.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from edgeimg import builtin, process
from edgeimg.arch import Arch
from edgeimg.cache.store import Store, key, sha256_file
from edgeimg.errors import HostError, ToolError
from edgeimg.progress import Advance, Progress

SOURCES = builtin.directory("standin").resolve()
COMPONENTS = frozenset(("coredns", "local-storage"))
"""K3s' packaged components that the stand-in has."""
DEADLINE = 3600.0
"""Seconds for one build. Without caches it takes about nine minutes on two idle cores."""
_GO_DEADLINE = 900.0
_VERSION = "1"
_ENVIRONMENT = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "xdg_cache_home")
_PROGRESS = re.compile(r"progress (\d+) (\d+)")
_HINT = "take a binary of K3s' release instead: --k3s PATH"


def build(
    arch: Arch,
    *,
    store: Store,
    progress: Progress,
    toolbox_go: Callable[[], Path] | None = None,
    sources: Path = SOURCES,
) -> Path:
    """The stand-in's binary for `arch`, from the cache or compiled now (minutes).

    `toolbox_go` returns a Go program for hosts without one. Raises HostError without sources or
    Go, ToolError with the end of the log when it does not compile.
    """
    compiler = _Compiler.find(arch, toolbox_go, sources)

    def make(result: Path) -> None:
        progress.note(
            f"compiling the K3s stand-in for {arch.name} with {compiler.version} "
            "(not K3s; for tests only); this takes minutes, once"
        )
        compiler.run(result, f"stand-in {arch.name}", progress)

    return store.derived(compiler.key, make)


def build_airgap(
    arch: Arch,
    busybox: bytes,
    *,
    store: Store,
    progress: Progress,
    toolbox_go: Callable[[], Path] | None = None,
    sources: Path = SOURCES,
) -> Path:
    """The images of the stand-in's components for `arch`, like K3s' air-gap archive.

    `busybox` is a static one for `arch`. See `build`.
    """
    compiler = _Compiler.find(arch, toolbox_go, sources)

    def make(result: Path) -> None:
        progress.note(
            f"compiling CoreDNS and the local-path provisioner for {arch.name} with "
            f"{compiler.version}, for the K3s stand-in; this takes minutes, once"
        )
        with tempfile.NamedTemporaryFile(prefix="edgeimg-busybox-") as program:
            program.write(busybox)
            program.flush()
            label = f"stand-in's images {arch.name}"
            compiler.run(result, label, progress, "--airgap", program.name)

    digest = hashlib.sha256(busybox).hexdigest()
    return store.derived(key("standin-airgap", compiler.key, digest), make)


def require(sources: Path = SOURCES) -> None:
    """Raises HostError where the stand-in's sources are not: they are in checkouts only."""
    if not (sources / "build.py").is_file():
        raise HostError(
            "the stand-in is only in a checkout of edgeimg, and this edgeimg is an installation",
            hint=_HINT,
        )


def cached(arch: Arch, store: Store, *, sources: Path = SOURCES) -> Path | None:
    """The binary that `build` would return without compiling, or None.

    Raises HostError without sources or Go, ToolError when Go cannot be used.
    """
    path = store.root / "derived" / _Compiler.find(arch, None, sources).key
    return path if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class _Compiler:
    """The build script of the stand-in, with a Go, for one architecture."""

    arch: Arch
    sources: Path
    go: Path
    version: str

    @classmethod
    def find(cls, arch: Arch, toolbox_go: Callable[[], Path] | None, sources: Path) -> _Compiler:
        require(sources)
        go = _find_go(toolbox_go)
        return cls(arch=arch, sources=sources, go=go, version=_go_version(go, sources))

    @property
    def key(self) -> str:
        """Of the binary, in the cache."""
        parts = (_VERSION, digest(self.sources), self.arch.goarch, self.version)
        return key("standin", *parts, zstandard.__version__)

    def run(self, result: Path, label: str, progress: Progress, *options: str) -> None:
        argv: list[str | Path] = [sys.executable, "build.py", "--arch", self.arch.goarch]
        argv += ["--output", result.absolute(), "--go", self.go, *options]
        _run(argv, self.sources, label, progress)


def digest(sources: Path) -> str:
    """Hex sha256 of the names and contents of everything that is compiled or compiles."""
    total = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        relative = path.relative_to(sources)
        hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
        is_ignored = path.name.endswith(("_test.go", "test.py", ".md"))
        if path.is_file() and not hidden and not is_ignored:
            total.update(f"{relative}\0{sha256_file(path)}\0".encode())
    return total.hexdigest()


def _find_go(toolbox_go: Callable[[], Path] | None) -> Path:
    if program := shutil.which("go"):
        return Path(program)
    if toolbox_go is not None:
        return toolbox_go()
    raise HostError(
        "the K3s stand-in has to be compiled, and there is no Go on this host",
        hint=f"install Go 1.21 or newer (it fetches the version it needs); or {_HINT}",
    )


def _environment() -> dict[str, str]:
    """Go's environment: the caller's settings of Go, caches and proxies."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("GO") or name.lower() in _ENVIRONMENT
    }
    # Distributions set GOTOOLCHAIN=local, but the stand-in needs a newer Go than most have.
    return process.environment({"GOTOOLCHAIN": "auto", **variables})


def _go_version(go: Path, sources: Path) -> str:
    """The compiler that Go will use for these sources; it may be downloaded first."""
    try:
        out = process.run(
            [go, "env", "GOVERSION"], timeout=_GO_DEADLINE, cwd=sources, env=_environment()
        )
    except ToolError as error:
        raise ToolError(
            f"Go cannot be used for the K3s stand-in: {error.message}",
            hint=f"Go fetches the compiler it needs with GOPROXY: check the network; or {_HINT}",
        ) from error
    return out.decode().strip()


def _run(argv: list[str | Path], sources: Path, label: str, progress: Progress) -> None:
    tail: collections.deque[str] = collections.deque(maxlen=process.TAIL_LINES)
    with (
        process.start(argv, cwd=sources, env=_environment()) as child,
        contextlib.ExitStack() as stack,
    ):
        expired = threading.Event()

        def end() -> None:
            expired.set()
            process.stop(child)

        timer = threading.Timer(DEADLINE, end)
        stack.callback(timer.cancel)
        timer.start()
        assert child.stderr is not None
        _follow((line.decode(errors="replace") for line in child.stderr), label, progress, tail)
        status = child.wait()
    if expired.is_set() or status:
        late = f"not done within {DEADLINE:.0f} s"
        reason = late if expired.is_set() else f"failed with status {status}"
        log = "\n  ".join(tail)
        raise ToolError(f"{label}: {reason}\n  {log}", hint=_HINT)


def _follow(
    lines: Iterable[str], label: str, progress: Progress, tail: collections.deque[str]
) -> None:
    """Show the build script's `progress DONE TOTAL` lines as a bar; keep the others."""
    count = 0
    with contextlib.ExitStack() as stack:
        advance: Advance | None = None
        for line in lines:
            if match := _PROGRESS.fullmatch(line.strip()):
                if advance is None:
                    advance = stack.enter_context(progress.task(label, int(match[2]), "items"))
                advance(int(match[1]) - count)
                count = int(match[1])
            elif line.strip():
                tail.append(line.rstrip())
                progress.debug(f"{label}: {line.rstrip()}")
