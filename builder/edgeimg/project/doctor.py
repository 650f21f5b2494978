"""What this host can do: every finding with what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgeimg import process, tools
from edgeimg.cache.store import Store
from edgeimg.errors import EdgeimgError
from edgeimg.fetch import mirrors, shared_address, shared_cache
from edgeimg.ui import human

NEEDED_BYTES = 6 << 30
STANDIN_BYTES = 10 << 30


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing looked at; `bad` means that building is impossible."""

    topic: str
    state: Literal["ok", "note", "bad"]
    message: str
    advice: str = ""

    def to_json(self) -> dict[str, object]:
        """A plain dictionary."""
        return asdict(self)


def examine_host(store: Store) -> list[Fact]:
    """Look at everything a build, a lock and a boot need. Changes nothing."""
    return [
        _python(),
        _host(),
        _disk(store),
        _mirror(),
        _shared_cache(),
        _apt(),
        _go(),
        _kvm(),
        _docker(),
    ]


def _python() -> Fact:
    return Fact(topic="python", state="ok", message=sys.version.split()[0])


def _host() -> Fact:
    try:
        host = tools.build_host()
    except EdgeimgError as error:
        return Fact(topic="host", state="bad", message=error.message, advice=error.hint or "")
    return Fact(topic="host", state="ok", message=f"{host.name}, {os.cpu_count()} processors")


def _disk(store: Store) -> Fact:
    place = next(p for p in (store.root, *store.root.parents) if p.exists())
    free = shutil.disk_usage(place).free
    message = f"{human(free)} free for the cache in {store.root}"
    if not os.access(place, os.W_OK):
        return Fact(
            topic="cache",
            state="bad",
            message=f"{place} is not writable",
            advice="set EDGEIMG_CACHE to a directory that you own",
        )
    if free < NEEDED_BYTES:
        return Fact(
            topic="cache",
            state="note",
            message=message,
            advice=f"a build of all architectures wants {human(NEEDED_BYTES)}",
        )
    return Fact(topic="cache", state="ok", message=message)


def _mirror() -> Fact:
    try:
        found = mirrors.from_host(dict(os.environ))
    except EdgeimgError as error:
        return Fact(topic="mirror", state="bad", message=error.message, advice=error.hint or "")
    return Fact(topic="mirror", state="ok", message=f"Debian packages from {found}")


def _shared_cache() -> Fact:
    topic = "shared"
    try:
        where = shared_address.address(os.environ)
    except EdgeimgError as error:
        return Fact(topic=topic, state="bad", message=error.message, advice=error.hint or "")
    if where is None:
        message = f"no shared build cache: {shared_address.VARIABLE} is not set"
        return Fact(topic=topic, state="ok", message=message)
    if reason := shared_cache.probe(where):
        return Fact(
            topic=topic,
            state="note",
            message=f"the shared build cache {where.name} does not answer: {reason}",
            advice="builds work without it",
        )
    access = "read and written" if where.writes else "only read"
    message = f"the shared build cache {where.name} answers; it is {access}"
    return Fact(topic=topic, state="ok", message=message)


def _apt() -> Fact:
    if shutil.which("apt-get"):
        return Fact(topic="apt", state="ok", message="apt-get resolves locks")
    return Fact(
        topic="apt",
        state="note",
        message="no apt-get: `lock` needs a Docker engine",
        advice="building from an existing lock works without either",
    )


def _go() -> Fact:
    if go := shutil.which("go"):
        out = process.run([go, "env", "GOVERSION"], timeout=30).decode().strip()
        return Fact(topic="go", state="ok", message=f"{out} builds the K3s stand-in")
    return Fact(
        topic="go",
        state="note",
        message="no Go toolchain on PATH",
        advice="only the K3s stand-in needs one; Debian's is fetched when it is built",
    )


def _kvm() -> Fact:
    device = Path("/dev/kvm")
    if not device.exists():
        return Fact(
            topic="kvm",
            state="note",
            message="no /dev/kvm: guests are emulated",
            advice="boots take minutes instead of seconds",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        return Fact(
            topic="kvm",
            state="note",
            message="/dev/kvm is not accessible to you",
            advice="add yourself to the group kvm to boot guests of this host fast",
        )
    return Fact(topic="kvm", state="ok", message="/dev/kvm is there; it is proven before use")


def _docker() -> Fact:
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("//")[2])
    if socket.exists() and os.access(socket, os.W_OK):
        return Fact(topic="docker", state="ok", message=f"an engine listens at {socket}")
    return Fact(
        topic="docker",
        state="note",
        message="no Docker engine",
        advice="only `lock` on a host without apt needs one",
    )
