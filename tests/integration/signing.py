"""GnuPG homes for tests: short paths, because of the agent's socket, and nothing left running."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeimg.trust import keys
from edgeimg.trust.keys import Key, NewKey


@contextlib.contextmanager
def gpg_home() -> Iterator[Path]:
    """A place for a home directory, not made yet."""
    parent = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))
    home = parent / "gpg"
    try:
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(parent, ignore_errors=True)


def make_key(home: Path, name: str = "Releases") -> Key:
    """A key without passphrase."""
    user = keys.user_id(name, f"{name.lower()}@example.org")
    return keys.generate(NewKey(user_id=user, home=home, protected=False))


def gpg(home: Path, *arguments: str | Path, input: bytes | None = None) -> bytes:
    """Plain gpg, without a word from edgeimg."""
    base = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    done = subprocess.run([*base, *arguments], input=input, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
