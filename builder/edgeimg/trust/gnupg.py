"""Starts gpg and gpgv of this host so that they never wait without a limit.

Secret keys belong to gpg's agent, to a smart card or a PKCS#11 token behind it; edgeimg sees none.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeimg import process
from edgeimg.errors import HostError, OverrunError, SigningKeyError, ToolError

SECONDS = 60.0
"""Longest time for anything but a person who types a passphrase."""
PATIENCE = 300.0
_PACKAGES = {"gpg": "gpg", "gpgv": "gpgv", "gpg-agent": "gpg-agent"}
_SESSION = (
    "GNUPGHOME", "TERM", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS", "PINENTRY_USER_DATA",
)  # fmt: skip
_STATUS = "[GNUPG:] "
FAILED = "FAILED"
"""Added to a status when gpgv did not end well."""
_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path, unix(7)."""


def require(*programs: str) -> None:
    """Raises HostError when one of the programs is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        packages = " ".join(_PACKAGES[program] for program in missing)
        raise HostError(
            f"cannot find {' and '.join(missing)}", hint=f"install GnuPG: apt install {packages}"
        )


def interactive() -> bool:
    """Whether there is a terminal for a passphrase."""
    return sys.stdin is not None and sys.stdin.isatty()


def gpg(
    *args: str | Path,
    home: Path | None,
    passphrase_file: Path | None = None,
    input: bytes | None = None,
) -> bytes:
    """Run gpg with the user's keyring, or that in `home`; its standard output.

    A secret key's passphrase comes from `passphrase_file`, from the agent's memory, or from the
    person at the terminal, if there is one; otherwise gpg fails at once. Raises HostError when
    there is no gpg, SigningKeyError when it waits for input, ToolError when it fails.
    """
    require("gpg", "gpg-agent")
    can_ask = interactive() and passphrase_file is None
    argv = [*_base(home), *_pinentry(passphrase_file, can_ask), *args]
    limit = PATIENCE if can_ask else SECONDS
    try:
        return process.run(argv, timeout=limit, env=_environment(), input=input)
    except OverrunError as error:
        raise SigningKeyError(
            f"gpg gave no answer within {limit:.0f} s: it waits for a passphrase, a PIN or a card",
            hint="unlock the key first, or use --passphrase-file",
        ) from error


def gpgv(signature: Path, signed: Path, keyring: Path, *, home: Path) -> tuple[list[str], str]:
    """Check a detached signature with the keys of `keyring` only, not with the user's keys.

    Returns the lines of gpgv's status (doc/DETAILS of GnuPG), FAILED last if it failed, and its
    log. `home` is an empty directory. Raises HostError when there is no gpgv.
    """
    require("gpgv")
    # Status and log go to standard output: process.run returns that of a failure too.
    argv: list[str | Path] = ["gpgv", "--homedir", home, "--status-fd", "1", "--logger-fd", "1"]
    argv += ["--weak-digest", "SHA1", "--keyring", keyring.absolute(), signature, signed]
    try:
        output = process.run(argv, timeout=SECONDS, env=_environment()).decode(errors="replace")
    except OverrunError:
        raise
    except ToolError as error:
        output = f"{error.message}\n{_STATUS}{FAILED}"
    lines = [line.strip() for line in output.splitlines()]
    status = [line.removeprefix(_STATUS) for line in lines if line.startswith(_STATUS)]
    return status, "\n  ".join(line for line in lines if not line.startswith(_STATUS))


def default_home() -> Path:
    """Where gpg keeps the user's keys."""
    return Path(os.environ.get("GNUPGHOME") or Path.home() / ".gnupg")


def check_sockets(home: Path) -> None:
    """Raises HostError when the agent's socket would have too long a name."""
    runtime = Path("/run/user", str(os.geteuid()))
    longest = os.fsencode(home.absolute() / "S.gpg-agent.browser")
    if len(longest) > _LONGEST_SOCKET and not runtime.is_dir():
        raise HostError(
            f"gpg's agent cannot have its socket in {home}: the path is too long",
            hint="use a home directory with a path of at most 80 bytes",
        )


def _base(home: Path | None) -> list[str | Path]:
    # What the user's gpg.conf adds to signatures has no place in a release. Which keys are whose
    # is judged by fingerprint, not by the web of trust.
    base: list[str | Path] = ["gpg", "--no-options", "--batch", "--no-tty", "--quiet"]
    base += ["--trust-model", "always", "--no-auto-check-trustdb"]
    return base if home is None else [*base, "--homedir", home.absolute()]


def _pinentry(passphrase_file: Path | None, can_ask: bool) -> Sequence[str | Path]:
    if passphrase_file is not None:
        return ["--pinentry-mode", "loopback", "--passphrase-file", passphrase_file.absolute()]
    return ["--pinentry-mode", "ask" if can_ask else "error"]


def _environment() -> dict[str, str]:
    session = {name: os.environ[name] for name in _SESSION if name in os.environ}
    if interactive():
        session["GPG_TTY"] = os.ttyname(sys.stdin.fileno())
    return process.environment(session)
