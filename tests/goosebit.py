"""A real server of the DDI protocol: goosebit from PyPI, in a virtual environment of its own.

goosebit was written by others: it judges what tests/hawkbit.py, a stand-in of this project, cannot.
With its dependencies it has 150 MB, so it is not part of `dev`. The environment is made once and
kept beside the cache of builds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from edgeimg.cache.store import default_root

PINNED = Path(__file__).resolve().parent / "integration/goosebit.txt"
INSTALL_SECONDS = 300
START_SECONDS = 40.0
MAIL, PASSWORD = "desk@example.org", "s3cret"


def environment() -> Path:
    """The virtual environment with goosebit in the pinned versions. The first call installs it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(PINNED.read_bytes() + version.encode()).hexdigest()[:16]
    root = default_root()
    kept = root.with_name(f"{root.name}-tests") / f"goosebit-{digest}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may run tests; the others wait for the one that installs.
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "complete").exists():
            shutil.rmtree(kept, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", kept], check=True, timeout=60)
            subprocess.run(
                [kept / "bin/python", "-m", "pip", "install", "--quiet", "-r", PINNED],
                check=True, timeout=INSTALL_SECONDS,
            )  # fmt: skip
            (kept / "complete").touch()
    return kept


class Goosebit:
    """goosebit on 127.0.0.1 with an SQLite database in `directory`; `url` is its address.

    Its gateways need a token that the desk has set (its "strict" mode).
    """

    def __init__(self, directory: Path) -> None:
        self._directory, venv = directory, environment()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(directory),
            "GOOSEBIT_DB_URI": f"sqlite://{directory}/db.sqlite3",
            "GOOSEBIT_ARTIFACTS_DIR": str(directory / "artifacts"),
            "GOOSEBIT_DEVICE_AUTH__ENABLE": "true", "GOOSEBIT_DEVICE_AUTH__MODE": "strict",
        }  # fmt: skip
        migrations = next(venv.glob("lib/python*/site-packages/goosebit/db/migrations"))
        (directory / "pyproject.toml").write_text(
            "[tool.aerich]\n"
            'tortoise_orm = "goosebit.db.config.TORTOISE_CONF"\n'
            f'location = "{migrations}"\n'
        )
        self._log = (directory / "log").open("wb")
        shared: dict[str, Any] = {
            "cwd": directory, "env": variables, "stdout": self._log, "stderr": subprocess.STDOUT,
        }  # fmt: skip
        subprocess.run([venv / "bin/aerich", "upgrade"], check=True, timeout=60, **shared)
        command = ["-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "goosebit:app"]
        self._process = subprocess.Popen([venv / "bin/python", *command], **shared)
        self._session = requests.Session()
        self._session.trust_env = False
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def _log_in(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None, self.log()
            try:
                body = {"username": MAIL, "password": PASSWORD}
                answer = self._session.post(f"{self.url}/setup", data=body, timeout=10)
                break
            except requests.ConnectionError:
                assert time.monotonic() < end, self.log()
                time.sleep(0.2)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._session.close()
        self._log.close()

    def log(self) -> str:
        """The end of what the server has written."""
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def call(self, method: str, path: str, **more: Any) -> Any:
        """Request `/api/v1` and `path`; the answer as JSON."""
        answer = self._session.request(method, f"{self.url}/api/v1{path}", timeout=20, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def change(self, name: str, **values: Any) -> None:
        """Set values of a gateway, which is made if the server does not know it."""
        self.call("PUT", "/devices", json={"devices": [name], **values})

    def device(self, name: str) -> Any:
        """What the server knows of a gateway, from its list.

        goosebit 0.2.12 answers 500 for one gateway that has an order.
        """
        found = self.call("GET", "/devices")["devices"]
        return next(one for one in found if one["id"] == name)

    def reports(self, name: str) -> list[str]:
        """Lines of the reports that the server has stored, since an update began."""
        return (self.call("GET", f"/devices/{name}/log")["log"] or "").splitlines()

    def software(self, version: str) -> int:
        """Number of a new version. Its carrier is a file of SWUpdate with a description alone."""
        text = f'software = {{ version = "{version}"; }};\n'.encode()
        files = {"file": (f"gw-{version}.swu", _cpio("sw-description", text))}
        return int(self.call("PUT", "/software", files=files)["id"])


def _cpio(name: str, content: bytes) -> bytes:
    """An archive in cpio's "newc" format with one file."""

    def member(title: str, data: bytes, mode: int) -> bytes:
        fields = [1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % one for one in fields) + title.encode() + b"\0"
        head += bytes(-len(head) % 4)
        return head + data + bytes(-len(data) % 4)

    return member(name, content, 0o100644) + member("TRAILER!!!", b"", 0)
