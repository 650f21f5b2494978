"""From a fresh clone and python3 to a working environment; standard library only.

The environment is `.venv` in the checkout. It is remade when pyproject.toml changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINIMUM = (3, 11)


def run_in_environment(program: str, arguments: list[str], *, extra: str = "") -> None:
    """Replace this process by `program` of the environment, which is made when needed.

    `extra` names an optional dependency group of pyproject.toml, such as `dev`.
    """
    if sys.version_info < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        sys.exit(f"edgeimg needs Python {wanted} or newer; this is {sys.version.split()[0]}")
    binaries = prepare(extra) / "bin"
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execve(binaries / program, [program, *arguments], {**os.environ, "PATH": path})


def prepare(extra: str) -> Path:
    """Return the environment, made or brought up to date under a lock."""
    environment = ROOT / ".venv"
    environment.mkdir(exist_ok=True)
    stamp = environment / f".installed-{extra or 'base'}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    with (environment / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(environment, extra)
            stamp.write_text(wanted)
    return environment


def _install(environment: Path, extra: str) -> None:
    say = "with the tools for development" if extra else "once"
    sys.stderr.write(f"Setting up edgeimg's Python environment in .venv ({say})…\n")
    try:
        venv.EnvBuilder(with_pip=True, symlinks=True).create(environment)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(
            f"cannot make a virtual environment: {error}\n"
            "On Debian its module is a package of its own: apt install python3-venv"
        )
    target = f"{ROOT}[{extra}]" if extra else str(ROOT)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--editable", target]
    result = subprocess.run(pip, check=False, stdin=subprocess.DEVNULL)
    if result.returncode:
        sys.exit(
            "pip could not install edgeimg's dependencies (see above). Behind a proxy or on a "
            "closed network, point pip at your package index and run this again."
        )
