"""The tools tree: locked Debian programs for the build host, unpacked and never installed.

A program runs through the tree's own loader with the tree's libraries, so it does not matter
what the host has: `ld.so --library-path … --argv0 NAME PROGRAM` (ld.so(8)).
"""

from __future__ import annotations

import fnmatch
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg import process
from edgeimg.arch import ALIASES, Arch
from edgeimg.cache.store import Store, key
from edgeimg.errors import FetchError, HostError, LockError, ToolError
from edgeimg.lock.groups import TOOL_GROUPS
from edgeimg.lock.model import Lock, Package
from edgeimg.progress import Progress, Silent
from edgeimg.sources import deb
from edgeimg.tree import Node, Tree

__all__ = ["TOOL_GROUPS", "Toolbox", "build_host", "of_this_system", "packages", "prepare"]

_VERSION = "1"
_INSTALLER = Path("/usr/lib/edgeimg/installer")
"""A program that only the installer's stick has (overlays/installer)."""
_BIN = ("usr/bin", "usr/sbin", "usr/lib/systemd", "usr/libexec")
_PRUNED = (
    "etc/*",
    "usr/games/*",
    "usr/include/*",
    "usr/lib/udev/*",
    "usr/lib/systemd/system/*",
    "usr/lib/tmpfiles.d/*",
    "usr/share/bash-completion/*",
    "usr/share/doc/*",
    "usr/share/i18n/*",
    "usr/share/info/*",
    "usr/share/lintian/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/zsh/*",
    "usr/bin/qemu-system-*-microvm",
    "usr/bin/qemu-system-i386",
    "usr/lib/*/gconv/*",
    "usr/lib/*/qemu/*",
    "usr/lib/go-*/test/*",
    "usr/share/go-*/test/*",
    "usr/share/AAVMF/*.ms.fd",
    "usr/share/AAVMF/AAVMF_CODE.secboot*",
    "usr/share/AAVMF/*snakeoil*",
    "usr/share/OVMF/*.ms.fd",
    "usr/share/OVMF/*secboot*",
    "usr/share/OVMF/*snakeoil*",
)
"""Nothing that a program run by the build host reads."""


@dataclass(frozen=True)
class Toolbox:
    """A tools tree at `root`, whose programs run on the build host `host`."""

    root: Path
    host: Arch

    def path(self, name: str) -> Path:
        """A file of the tree by its path there. Raises ToolError when it is not there."""
        path = self.root / name
        if not path.exists():
            raise ToolError(
                f"the tools tree has no {name}", hint="its package list and edgeimg disagree"
            )
        return path

    def program(self, name: str) -> Path:
        """The program of that name, as on PATH. Raises ToolError for a program that is missing."""
        for directory in _BIN:
            if (path := self.root / directory / name).is_file():
                return path
        raise ToolError(f"the tools tree has no program {name}")

    def argv(self, program: str, *args: str | Path) -> list[str]:
        """The command line that runs `program` out of the tree with `args`.

        Raises ToolError when there is no such program.
        """
        path = self.program(program)
        arguments = [str(arg) for arg in args]
        if not _is_dynamic(path, self.host):
            return [str(path), *arguments]
        library = self.root / "usr/lib" / self.host.triplet
        return [
            str(library / Path(self.host.loader).name),
            "--library-path",
            f"{library}:{library / 'systemd'}",
            "--argv0",
            program,
            str(path),
            *arguments,
        ]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a program of the tree; `extra` is added."""
        return process.environment({"MTOOLSRC": "/dev/null", **(extra or {})})

    def run(
        self,
        program: str,
        *args: str | Path,
        timeout: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> bytes:
        """Run a program of the tree to its end and return its standard output.

        `timeout` is in seconds, `env` is added to a small clean environment.
        Raises ToolError with the tail of the program's log, HostError when the disk is full.
        """
        return process.run(
            self.argv(program, *args),
            timeout=timeout,
            cwd=cwd,
            env=self.environment(env),
            input=input,
            name=program,
        )


def build_host() -> Arch:
    """The architecture of this machine. Raises HostError where edgeimg has no tools for it."""
    machine = platform.machine()
    arch = ALIASES.get(machine.lower())
    if platform.system() != "Linux" or arch is None:
        raise HostError(
            f"edgeimg does not run on {platform.system()} {machine}",
            hint="use Linux on x86-64 or arm64, or a container or virtual machine of that kind",
        )
    return arch


def of_this_system() -> Toolbox | None:
    """The programs of the running system, where that is the installer's stick: it needs no network.

    None everywhere else.
    """
    return Toolbox(Path("/"), build_host()) if _INSTALLER.exists() else None


def packages(lock: Lock, group: str, host: Arch) -> tuple[Package, ...]:
    """The locked packages of a group. Raises LockError when there are none for `host`."""
    found = lock.tools.get(group, {}).get(host.name)
    if not found:
        hosts = ", ".join(sorted(lock.tools.get(group, {}))) or "no host"
        raise LockError(
            f"the lock has the tools '{group}' for {hosts}, but not for this {host.name} host",
            hint="run `edgeimg lock` here",
        )
    return found


def prepare(
    lock: Lock, group: str, store: Store, *, host: Arch, progress: Progress | None = None
) -> Toolbox:
    """Unpack a group's packages, which must be in the store, unless that was done before.

    Raises LockError (not locked for `host`), FetchError (not fetched), DigestError,
    ArchiveError, HostError.
    """
    locked = packages(lock, group, host)
    progress = progress or Silent()

    def make(result: Path) -> None:
        # The unpacked archives are needed only until the tree is written.
        scratch = Store(result.parent / "scratch")
        tree = Tree()
        with progress.task(f"Unpacking tools: {group}", len(locked), "items") as advance:
            for package in locked:
                tree = tree.merge(_read(package, store, scratch))
                advance(1)
            tree.extract(result)

    digests = [package.sha256 for package in locked]
    return Toolbox(store.derived(key("tools", _VERSION, *_PRUNED, *digests), make), host)


def _read(package: Package, store: Store, scratch: Store) -> Tree:
    if not store.has_blob(package.sha256):
        raise FetchError(f"{package.path} was not fetched")
    found = deb.read_blob(package, blobs=store, store=scratch)
    return found.tree.without(_is_pruned)


def _is_pruned(path: str, _: Node) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in _PRUNED)


def _is_dynamic(path: Path, host: Arch) -> bool:
    """Whether a program names the host's loader; linkers put that at the file's beginning."""
    with path.open("rb") as file:
        return Path(host.loader).name.encode() in file.read(8192)
