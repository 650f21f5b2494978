"""A private apt: its own sources, lists, cache and package status; the host's is untouched.

apt runs as the caller, on this host or in a Debian container, and only plans: nothing is
installed. Configuration as in apt.conf(5), sources as in sources.list(5) (deb822).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeimg import process
from edgeimg.errors import LockError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT = 600.0
"""Seconds for one apt command; `update` downloads some 10 MB."""
_SNAPSHOT = re.compile(r"/\d{8}T\d{6}Z(/|$)")


@dataclass(frozen=True)
class Outcome:
    """How an apt command ended."""

    status: int
    out: str
    err: str


class Runner(Protocol):
    """Runs an apt command with APT_CONFIG pointing below a private directory."""

    def __call__(self, argv: Sequence[str], root: Path) -> Outcome:
        """Run `argv`; files are exchanged below `root` only."""


@dataclass(frozen=True)
class Repository:
    """One base URL with the suites to take from it."""

    archive: str
    base: str
    suites: tuple[str, ...]
    components: tuple[str, ...] = ("main",)
    trusted: bool = False
    """Unsigned indexes are accepted (a local copy of an index that does not match)."""


def on_host(argv: Sequence[str], root: Path) -> Outcome:
    """Run apt on this host."""
    env = process.environment({"APT_CONFIG": str(root / "apt.conf")})
    with process.start(argv, env=env) as running:
        out, err = process.communicate(running, timeout=TIMEOUT, label="apt")
    return Outcome(running.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def available() -> bool:
    """Whether this host has apt."""
    return shutil.which("apt-get") is not None and shutil.which("apt-cache") is not None


def host_settings(run: Callable[..., Outcome], root: Path) -> str:
    """The host's apt settings that decide how the network is reached (proxies) and its clock."""
    keep = re.compile(r"Acquire::(https?::|Check-Date |Check-Valid-Until |Retries ).*")
    dump = run(["apt-config", "dump"], root).out
    return "\n".join(line for line in dump.splitlines() if keep.fullmatch(line))


def configure(root: Path, arch: str, repositories: Sequence[Repository], extra: str) -> None:
    """Lay out the private directory at `root` for Debian's architecture `arch`."""
    for part in ("state/lists/partial", "cache/archives/partial", "etc/sources.list.d"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for part in ("etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d"):
        (root / part).mkdir(exist_ok=True)
    (root / "status").write_text("")
    (root / "etc/sources.list.d/edgeimg.sources").write_text(sources(repositories))
    (root / "apt.conf").write_text(
        f'{extra}\nDir "{root}";\nDir::State "state";\nDir::State::status "{root}/status";\n'
        f'Dir::Cache "cache";\nDir::Etc "etc";\nAPT::Architecture "{arch}";\n'
        f'APT::Architectures {{ "{arch}"; }};\nAcquire::Languages "none";\n'
        'Acquire::ForceHash "SHA256";\nAPT::Update::Error-Mode "any";\n'
        'APT::Install-Recommends "false";\nAPT::Sandbox::User "";\n'
    )


def sources(repositories: Sequence[Repository]) -> str:
    """The deb822 text of the sources."""
    return "\n".join(_stanza(repository) for repository in repositories)


def _stanza(repository: Repository) -> str:
    trust = "Trusted: yes" if repository.trusted else f"Signed-By: {KEYRING}"
    # A snapshot of the archive is old on purpose. Its signature is still checked.
    snapshot = "Check-Valid-Until: no\n" if _SNAPSHOT.search(repository.base) else ""
    return (
        f"Types: deb\nURIs: {repository.base}\nSuites: {' '.join(repository.suites)}\n"
        f"Components: {' '.join(repository.components)}\n{trust}\n{snapshot}"
    )


def require_keyring() -> None:
    """Raise LockError when the host lacks Debian's archive keys."""
    if not KEYRING.is_file():
        raise LockError(
            f"Debian's archive keyring is missing: {KEYRING}",
            hint="install the package debian-archive-keyring",
        )
