"""apt for hosts without it: the same commands in a Debian container, through Docker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import docker
import docker.errors

from edgeimg.errors import LockError
from edgeimg.sources.apt import TIMEOUT, Outcome, Runner

IMAGE = "debian:trixie-slim"
"""Has apt and debian-archive-keyring."""
_HINT = (
    "install apt (Debian, Ubuntu), or start Docker and let it pull "
    f"{IMAGE} (`docker pull {IMAGE}`); building from an existing lock needs neither"
)


@contextlib.contextmanager
def runner(root: Path) -> Iterator[Runner]:
    """A container that sees `root` at its own path and runs apt as the caller's user.

    The container is removed at the end of the block. Raises LockError when there is no Docker
    engine, or the image can neither be found nor pulled.
    """
    try:
        client = docker.from_env(timeout=int(TIMEOUT))
        container = client.containers.run(
            IMAGE,
            ["sleep", "infinity"],
            detach=True,
            remove=True,
            init=True,
            network_mode="host",
            user=f"{os.getuid()}:{os.getgid()}",
            volumes={str(root): {"bind": str(root), "mode": "rw"}},
        )
    except (docker.errors.DockerException, OSError) as error:
        raise LockError(
            f"this host has no apt, and no Debian container can be started: {error}", hint=_HINT
        ) from None

    def run(argv: Sequence[str], root: Path) -> Outcome:
        environment = {"APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C.UTF-8"}
        result = container.exec_run(list(argv), environment=environment, demux=True)
        streams = cast("tuple[bytes | None, bytes | None]", result.output)
        out, err = ((part or b"").decode(errors="replace") for part in streams)
        return Outcome(result.exit_code if result.exit_code is not None else 1, out, err)

    try:
        yield run
    finally:
        with contextlib.suppress(docker.errors.DockerException):
            container.kill()
        client.close()
