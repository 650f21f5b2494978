"""A gateway's files on this host, where its own scripts run; and settings of a gateway."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from edgeimg.provision.settings import Settings
from edgeimg.recipe import provisioning
from pydantic import SecretStr

BASE = Path(__file__).parents[1] / "overlays/base"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm8ga2V5 me@desk"
SECRET = "K10aa::node:0123456789abcdef"
CARD = {"mac": "52:54:00:00:00:01", "addresses": ["192.168.77.2/24"]}
BOX = Settings.model_validate({
    "hostname": "box-2",
    "ssh_keys": [KEY],
    "k3s": {"role": "agent", "server": "https://192.168.77.1:6443", "token_file": SecretStr(SECRET),
            "labels": {"site": "hall-7", "line": "2"}, "config": {"debug": True}},
    "network": {"lan": CARD},
})  # fmt: skip


APPLETS = (
    "awk", "cat", "cp", "cut", "date", "df", "dmesg", "find", "grep", "gzip", "head", "hostname",
    "ionice", "ip", "ls", "mktemp", "netstat", "od", "ps", "readlink", "renice", "sed", "sort",
    "tail", "tar", "timeout", "tr", "wc",
)  # fmt: skip
"""Programs that the gateway has from busybox, and the host mostly from others."""


@functools.cache
def programs() -> str:
    """PATH with busybox's programs before the host's, as on the gateway."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox: apt install busybox")
    directory = tempfile.mkdtemp(prefix="edgeimg-busybox.")
    atexit.register(shutil.rmtree, directory)
    for applet in APPLETS:
        Path(directory, applet).symlink_to(busybox)
    return f"{directory}:{os.environ['PATH']}"


class Root:
    """A gateway's files, and its config partition's."""

    def __init__(self, path: Path) -> None:
        self.path, self.config = path, path / "config/edgeimg"
        shutil.copytree(BASE / "usr/lib/edgeimg", path / "usr/lib/edgeimg")
        for name, text in {
            "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 gateway\n",
            "etc/edgeimg/ssh/authorized_keys": "# of the image\n",
            "etc/rancher/k3s/config.yaml": "SERVER",
            "usr/share/edgeimg/k3s/server.yaml": "SERVER",
            "usr/share/edgeimg/k3s/agent.yaml": "AGENT",
            "usr/share/edgeimg/card": provisioning.table(["script"]).decode(),
            "usr/lib/edgeimg/services/wifi/config.json": "{}",
            "usr/lib/edgeimg/services/lte/config.json": "{}",
            "usr/lib/edgeimg/rollout": "",
            "usr/lib/edgeimg/update.conf": "rollback_index=0\n",
            "etc/ssl/certs/ca-certificates.crt": "CERTIFICATES OF THE IMAGE\n",
            "etc/containerd/config.toml": 'version = 3\n[grpc]\naddress = "x"\n',
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        self.config.mkdir(parents=True)
        self.kept = path / "var/lib/edgeimg/provision"

    def put(self, found: dict[str, bytes]) -> None:
        for name, content in found.items():
            target = self.config.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def start(self) -> str:
        """One start of the gateway; what it says is wrong."""
        done = subprocess.run(
            [self.path / "usr/lib/edgeimg/provision", self.path, self.config],
            capture_output=True, text=True, check=False, env={**os.environ, "PATH": programs()},
        )  # fmt: skip
        problem = self.path / "run/edgeimg/provision.problem"
        told = problem.read_text() if problem.exists() else ""
        assert (done.returncode != 0) == bool(told), done.stderr
        return told

    def holders(self, secret: str) -> set[str]:
        """The files that hold a secret."""
        return {
            str(path.relative_to(self.path)) for path in self.path.rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()
        }  # fmt: skip

    def read(self, name: str) -> str:
        return (self.path / name).read_text()
